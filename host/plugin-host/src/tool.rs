//! Tools that were loaded.

use std::collections::BTreeSet;
use std::sync::Arc;

use sortie_core::conversation::ToolSpec;
use sortie_core::digest::Digest;
use sortie_core::text::{clip, one_line, strip_escapes};
use sortie_policy::ports::{Tool, ToolEffects};
use tokio_util::sync::CancellationToken;

use crate::bindings::host::types;
use crate::bindings::tool::ToolHostPre;
use crate::bindings::tool::exports::sortie::tool::tool as wit;
use crate::error::Problem;
use crate::host::{self, Inner, Prepared};
use crate::spec::is_name;
use crate::state::{PluginInfo, State};
use crate::{call, failure, schema};

/// Tools of one component.
const TOOLS: usize = 32;
/// Bytes of a description.
const DESCRIPTION: usize = 16 << 10;

/// A component that offers tools. Clones share it.
#[derive(Clone)]
pub struct LoadedTool(Arc<Loaded>);

pub(crate) struct Loaded {
    pub(crate) host: Arc<Inner>,
    pub(crate) info: Arc<PluginInfo>,
    pub(crate) pre: ToolHostPre<State>,
    pub(crate) offers: Vec<Offer>,
    digest: Digest,
    imports: Vec<String>,
}

/// One tool of a component.
pub(crate) struct Offer {
    pub(crate) tool: Tool,
    pub(crate) title: String,
    pub(crate) validator: schema::Validator,
}

impl LoadedTool {
    /// Asks the component what it offers and whether it accepts its settings.
    pub(crate) async fn ask(host: Arc<Inner>, prepared: Prepared) -> Result<Self, Problem> {
        let Prepared { info, digest, pre, imports } = prepared;
        let pre = ToolHostPre::new(pre).map_err(host::types)?;
        let never = CancellationToken::new();
        let state = || State::new(&info, host.limits.tool_memory, &host.log, None, None);

        let guest = pre.clone();
        let described = call::run(&host.engine, &host.tools, state(), host.loading(&never), |store| {
            Box::pin(async move {
                let instance = guest.instantiate_async(&mut *store).await?;
                instance.sortie_tool_tool().call_describe(store).await
            })
        });
        let specs = described.await.map_err(|failure| failed("describe", &failure))?;
        let offers = offers(&info.id, specs).map_err(Problem::Description)?;

        let (guest, settings) = (pre.clone(), info.settings.clone());
        let checked = call::run(&host.engine, &host.tools, state(), host.loading(&never), |store| {
            Box::pin(async move {
                let instance = guest.instantiate_async(&mut *store).await?;
                instance.sortie_tool_tool().call_validate_settings(store, &settings).await
            })
        });
        accepted(checked.await)?;
        Ok(Self(Arc::new(Loaded { host, info, pre, offers, digest, imports })))
    }

    /// Id of the plugin.
    pub fn id(&self) -> &str {
        &self.0.info.id
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// What the component imports, as `package/interface@version`.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// Its tools, in the order in which it describes them.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.0.offers.iter().map(|offer| &offer.tool)
    }

    /// A tool's short title, for people.
    pub fn title(&self, tool: &str) -> Option<&str> {
        self.0.offers.iter().find(|offer| offer.tool.spec.name == tool).map(|offer| offer.title.as_str())
    }

    pub(crate) fn inner(&self) -> &Arc<Loaded> {
        &self.0
    }
}

/// Whether a component has accepted its settings.
pub(crate) fn accepted(checked: Result<Result<(), types::Error>, failure::Failure>) -> Result<(), Problem> {
    let checked = checked.map_err(|failure| failed("validate-settings", &failure))?;
    checked.map_err(|error| Problem::Settings(one_line(&error.message, 1000)))
}

fn failed(function: &'static str, failure: &failure::Failure) -> Problem {
    Problem::Failed { function, reason: failure.to_string() }
}

/// Checks a description.
fn offers(plugin: &str, specs: Vec<wit::Spec>) -> Result<Vec<Offer>, String> {
    if specs.is_empty() || specs.len() > TOOLS {
        return Err(format!("there are {} of them, and 1 to {TOOLS} are possible", specs.len()));
    }
    let mut names = BTreeSet::new();
    for spec in &specs {
        if !is_name(&spec.name, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) {
            let shown = one_line(&spec.name, 80);
            return Err(format!("`{shown}` is no name: 1 to 64 of `a-z`, `0-9`, `_` and `-`"));
        }
        if !names.insert(&spec.name) {
            return Err(format!("`{}` is there twice", spec.name));
        }
    }
    specs.into_iter().map(|spec| offer(plugin, spec)).collect()
}

fn offer(plugin: &str, spec: wit::Spec) -> Result<Offer, String> {
    let wit::Spec { name, title, description, input_schema, effects } = spec;
    if description.len() > DESCRIPTION {
        return Err(format!("the description of `{name}` is longer than 16 KiB"));
    }
    let (input_schema, validator) =
        schema::compile(&input_schema).map_err(|error| format!("the schema of `{name}`: {error}"))?;
    let description = strip_escapes(clip(&description, DESCRIPTION).as_ref());
    let has = |flag| effects.contains(flag);
    let effects = ToolEffects {
        reads: has(wit::Effects::READS),
        writes: has(wit::Effects::WRITES),
        executes: has(wit::Effects::EXECUTES),
        network: has(wit::Effects::NETWORK),
        destructive: has(wit::Effects::DESTRUCTIVE),
        idempotent: has(wit::Effects::IDEMPOTENT),
    };
    let tool =
        Tool { plugin: plugin.to_owned(), spec: ToolSpec { name, description, input_schema }, effects };
    Ok(Offer { tool, title: one_line(&title, 200), validator })
}
