//! The host of all plugins of a process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sortie_core::digest::Digest;
use sortie_core::text::one_line;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

use crate::cache::{Cache, CacheError};
use crate::call::Bounds;
use crate::error::{LoadError, Problem};
use crate::limits::{self, Limits};
use crate::log::PluginLog;
use crate::policy::PolicyPlugin;
use crate::spec::{PluginKind, PluginSpec, is_plugin_id};
use crate::state::{PluginInfo, State};
use crate::tool::LoadedTool;
use crate::{engine, imports, linker};

/// How a host is set up.
pub struct HostConfig {
    /// Folder of the artefact cache: made, with mode 0700, if it is not there.
    pub cache_dir: PathBuf,
    /// How much plugins may use.
    pub limits: Limits,
    /// Where plugins' words go while they are loaded.
    pub log: Arc<dyn PluginLog>,
}

/// A host cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine cannot run here.
    #[error("the WebAssembly engine cannot run here: {0}")]
    Engine(String),
    /// The artefact cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Loads plugins. Clones share the engine.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) tools: Semaphore,
    pub(crate) policies: Semaphore,
    pub(crate) log: Arc<dyn PluginLog>,
    cache: Cache,
}

/// A plugin that was loaded.
#[derive(Clone)]
pub enum Plugin {
    /// It offers tools.
    Tool(LoadedTool),
    /// It decides on actions.
    Policy(PolicyPlugin),
}

/// What loading has come to before the component was asked anything.
pub(crate) struct Prepared {
    pub(crate) info: Arc<PluginInfo>,
    pub(crate) digest: Digest,
    pub(crate) pre: InstancePre<State>,
    pub(crate) imports: Vec<String>,
}

impl PluginHost {
    /// Makes the engine and opens the cache.
    ///
    /// # Errors
    /// If the engine cannot run on this machine, or the cache's folder cannot
    /// be made or is not private.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        let HostConfig { cache_dir, limits, log } = config;
        let engine =
            engine::new(&limits).map_err(|error| HostError::Engine(one_line(&format!("{error:#}"), 300)))?;
        let cache = Cache::open(&cache_dir, &engine)?;
        let places = |count| Semaphore::new(usize::try_from(count).expect("a pointer has 32 bits"));
        let (tools, policies) = (places(limits.concurrent_tools), places(limits.concurrent_policies));
        Ok(Self(Arc::new(Inner { engine, limits, tools, policies, log, cache })))
    }

    /// Loads a plugin of either kind.
    ///
    /// # Errors
    /// With the first thing that is wrong with it; of missing grants, all.
    pub async fn load(&self, spec: PluginSpec) -> Result<Plugin, LoadError> {
        let (id, origin) = (spec.id.clone(), spec.origin.clone());
        self.load_any(spec).await.map_err(|problem| LoadError { id, origin, problem })
    }

    /// Loads a plugin that must be a tool.
    ///
    /// # Errors
    /// As [`Self::load`], and if it is a policy.
    pub async fn load_tool(&self, spec: PluginSpec) -> Result<LoadedTool, LoadError> {
        let (id, origin) = (spec.id.clone(), spec.origin.clone());
        match self.load(spec).await? {
            Plugin::Tool(tool) => Ok(tool),
            Plugin::Policy(_) => Err(other_kind(id, origin, PluginKind::Policy, PluginKind::Tool)),
        }
    }

    /// Loads a plugin that must be a policy.
    ///
    /// # Errors
    /// As [`Self::load`], and if it is a tool.
    pub async fn load_policy(&self, spec: PluginSpec) -> Result<PolicyPlugin, LoadError> {
        let (id, origin) = (spec.id.clone(), spec.origin.clone());
        match self.load(spec).await? {
            Plugin::Policy(policy) => Ok(policy),
            Plugin::Tool(_) => Err(other_kind(id, origin, PluginKind::Tool, PluginKind::Policy)),
        }
    }

    async fn load_any(&self, spec: PluginSpec) -> Result<Plugin, Problem> {
        let host = Arc::clone(&self.0);
        let work = tokio::task::spawn_blocking(move || host.prepare(spec));
        let (kind, prepared) =
            work.await.map_err(|error| Problem::NotAComponent(format!("loading it failed: {error}")))??;
        let host = Arc::clone(&self.0);
        Ok(match kind {
            PluginKind::Tool => Plugin::Tool(LoadedTool::ask(host, prepared).await?),
            PluginKind::Policy => Plugin::Policy(PolicyPlugin::ask(host, prepared).await?),
        })
    }
}

fn other_kind(id: String, origin: String, found: PluginKind, wanted: PluginKind) -> LoadError {
    LoadError { id, origin, problem: Problem::Kind { found, wanted } }
}

impl Inner {
    /// Everything up to the first instance. Takes long if it has to compile.
    fn prepare(&self, spec: PluginSpec) -> Result<(PluginKind, Prepared), Problem> {
        if !is_plugin_id(&spec.id) {
            return Err(Problem::Id);
        }
        if !spec.settings.is_object() {
            return Err(Problem::Settings("they are not an object".into()));
        }
        let digest = Digest::of(&spec.bytes);
        if let Some(pinned) = &spec.digest
            && !pinned.eq_ignore_ascii_case(&digest.to_string())
        {
            return Err(Problem::Digest { found: digest.to_string(), pinned: one_line(pinned, 100) });
        }
        let component = self.component(&spec.bytes, &digest)?;
        let kind = imports::kind(&self.engine, &component)?;
        imports::check(&self.engine, &component, kind, &spec.grants)?;
        let linker = linker::new(&self.engine, kind, &spec.grants).map_err(types)?;
        let pre = linker.instantiate_pre(&component).map_err(types)?;
        let imports =
            component.component_type().imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let info =
            PluginInfo { id: spec.id.into(), settings: spec.settings.to_string(), grants: spec.grants };
        Ok((kind, Prepared { info: Arc::new(info), digest, pre, imports }))
    }

    /// The code, from the cache or compiled.
    fn component(&self, bytes: &[u8], digest: &Digest) -> Result<Component, Problem> {
        check_format(bytes)?;
        if let Some(component) = self.cache.load(&self.engine, digest) {
            return Ok(component);
        }
        self.log.compiling();
        let component = Component::from_binary(&self.engine, bytes).map_err(|error| {
            Problem::NotAComponent(format!("it does not compile: {}", one_line(&format!("{error:#}"), 300)))
        })?;
        self.cache.store(&component, digest);
        Ok(component)
    }

    /// The limits of a call while a plugin is loaded.
    pub(crate) fn loading<'a>(&self, never: &'a CancellationToken) -> Bounds<'a> {
        bounds(self.limits.load_time, never)
    }
}

pub(crate) fn bounds(time: Duration, cancel: &CancellationToken) -> Bounds<'_> {
    Bounds { time, deadline: None, cancel }
}

pub(crate) fn types(error: wasmtime::Error) -> Problem {
    Problem::Types(one_line(&format!("{error:#}"), 500))
}

/// Says in one line what the bytes are instead of a component.
fn check_format(bytes: &[u8]) -> Result<(), Problem> {
    let problem = match bytes {
        _ if bytes.len() > limits::COMPONENT => format!("its {} bytes are more than 64 MiB", bytes.len()),
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => "it is a core module, not a component; \
             build it for a component target, such as Rust's `wasm32-wasip2`"
            .into(),
        [b'\0', b'a', b's', b'm', ..] => "it is WebAssembly of another version than this host's".into(),
        [0x7f, b'E', b'L', b'F', ..] => "it is machine code, not a component".into(),
        [] => "it is empty".into(),
        _ => "it is no WebAssembly component".into(),
    };
    Err(Problem::NotAComponent(problem))
}
