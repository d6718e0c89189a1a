//! Workspaces: the built-in sandbox, or a container, with the egress proxy as
//! their only way out.

mod path_rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sortie_agent::{Journal as _, Meter};
use sortie_core::action::WorkspaceCreate;
use sortie_core::digest::Digest;
use sortie_core::event::Event;
use sortie_core::network::HostPattern;
use sortie_orchestrator::TaskJournal;
use sortie_policy::ports::{
    Background, Commands, ErrorCode, Files, NetworkMeter, PortError, Workspace, WorkspaceSpec, Workspaces,
};
use sortie_policy::{FactsSource, Gate, Permit};
use sortie_workspace::Isolated;
use sortie_workspace::commands::{BackgroundWatch, CommandLimits, WorkspaceCommands};
use sortie_workspace::container::{Container, ContainerConfig, Engine};
use sortie_workspace::egress::{AddressDialer, Proxy, ProxyLimits, Reach};
use sortie_workspace::registries;
use sortie_workspace::sandbox::{Limits, Sandbox, SandboxConfig, Toolchains};

use crate::adopt::Repository;
use crate::plugins::{Wanted, rules_in_force};
use crate::settings::WorkspaceSettings;

use path_rules::{PathRules, Paths};

/// How old a container has to be that was made and not started: one takes a moment.
const ABANDONED: Duration = Duration::from_secs(120);

/// Where commands find the proxy.
const PROXY_PORT: u16 = 3128;

/// The kinds of workspaces.
pub(crate) const BACKENDS: [&str; 2] = [SANDBOX, DOCKER];
/// The built-in sandbox.
pub(crate) const SANDBOX: &str = "sandbox";
/// A container of Docker's or Podman's.
pub(crate) const DOCKER: &str = "docker";

/// Makes workspaces of both kinds.
pub(crate) struct Backends {
    pub(crate) gate: Arc<Gate>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) journal: TaskJournal,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) settings: WorkspaceSettings,
    pub(crate) trusted: Vec<HostPattern>,
    /// Counts the bytes of the task's connections.
    pub(crate) network: Arc<NetworkMeter>,
    pub(crate) path_rules: PathRulesOf,
    /// Folders that no workspace shows.
    pub(crate) hidden: Vec<PathBuf>,
    /// Whose containers these are: our state folder.
    pub(crate) home: PathBuf,
}

/// Everybody's rules, the repository's once they are read.
#[derive(Clone)]
pub(crate) struct PathRulesOf {
    operators: Vec<Value>,
    from_repository: Arc<Repository>,
}

impl PathRulesOf {
    pub(crate) fn new(wanted: &[Wanted], from_repository: &Arc<Repository>) -> Self {
        Self { operators: rules_in_force(wanted), from_repository: Arc::clone(from_repository) }
    }

    pub(crate) fn rules(&self) -> PathRules {
        let theirs =
            self.from_repository.settings().map(|settings| settings.rule.as_slice()).unwrap_or_default();
        let theirs: Vec<_> = theirs.iter().map(|rule| json!(rule)).collect();
        PathRules::new(self.operators.iter().chain(&theirs))
    }
}

/// What a sandbox is made from on this machine, for tasks and for `doctor`.
pub(crate) fn config(work_tree: PathBuf, home: PathBuf, settings: &WorkspaceSettings) -> SandboxConfig {
    let user_home = std::env::var_os("HOME").map(PathBuf::from);
    SandboxConfig {
        toolchains: user_home
            .map(|home| Toolchains::discover(&home, |name| std::env::var_os(name)))
            .unwrap_or_default(),
        certificates: certificates(),
        limits: limits(settings),
        ..SandboxConfig::new(sortie_bundle::init(), work_tree, home)
    }
}

fn limits(settings: &WorkspaceSettings) -> Limits {
    let defaults = Limits::default();
    Limits {
        memory: settings.memory_mb.map_or(defaults.memory, |mb| mb.saturating_mul(1 << 20)),
        processes: settings.processes.unwrap_or(defaults.processes),
        cpus: settings.cpus.or(defaults.cpus),
        ..defaults
    }
}

/// The host's certificate authorities: `SSL_CERT_FILE`, or where the
/// distributions keep them.
fn certificates() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    named.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.is_file())
}

#[async_trait]
impl Workspaces for Backends {
    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError> {
        let action = permit.redeem(self.gate.seal())?;
        let paths = self.path_rules.rules().in_tree(&spec.work_tree).map_err(PortError::internal)?;
        let isolated: Box<dyn Isolated> = match action.backend.as_str() {
            SANDBOX => Box::new(self.sandbox(spec, paths).await?),
            DOCKER => Box::new(self.container(action, spec, paths).await?),
            other => {
                let text =
                    format!("no workspace backend named `{other}`; there are: {}", BACKENDS.join(", "));
                return Err(PortError::new(ErrorCode::Invalid, text));
            }
        };
        let proxy = self.proxy(&*isolated).await?;
        let mut environment = isolated.environment().to_vec();
        environment.extend(proxy_variables());
        environment.extend(registries::variables(|name| std::env::var_os(name)));
        let commands = WorkspaceCommands::new(
            isolated.client().clone(),
            self.gate.seal(),
            environment,
            CommandLimits::default(),
        )
        .with_counters(isolated.counters())
        .with_watch(Arc::new(Watch(self.journal.clone())));
        Ok(Arc::new(Running {
            isolated,
            proxy,
            commands: Arc::new(commands),
            files: Arc::clone(&self.files),
        }))
    }
}

impl Backends {
    async fn sandbox(&self, spec: WorkspaceSpec, paths: Paths) -> Result<Sandbox, PortError> {
        let mut config = config(spec.work_tree, spec.home, &self.settings);
        config.masks = paths.masks;
        config.read_only = paths.read_only;
        config.hidden.clone_from(&self.hidden);
        Sandbox::start(config).await.map_err(unavailable)
    }

    async fn container(
        &self,
        action: WorkspaceCreate,
        spec: WorkspaceSpec,
        paths: Paths,
    ) -> Result<Container, PortError> {
        let image =
            action.image.ok_or_else(|| PortError::new(ErrorCode::Invalid, "a container needs an image"))?;
        let engine = Engine::connect().await.map_err(unavailable)?;
        let progress = |text: &str| self.journal.append(Event::Progress { text: text.to_owned() });
        engine.pull(&image, progress).await.map_err(unavailable)?;
        let owner = Digest::of(self.home.as_os_str().as_encoded_bytes()).to_string();
        // it costs an engine's answer, and what it fails at the next task does
        if let Err(error) = engine.remove_abandoned(&owner, ABANDONED).await {
            tracing::warn!(%error, "containers of hosts that were killed are not removed");
        }
        let beside = spec.work_tree.parent().unwrap_or(Path::new("/"));
        let config = ContainerConfig {
            image,
            task: self.meter.facts().task,
            owner,
            init: sortie_bundle::init().into(),
            folder: beside.join("container"),
            work_tree: spec.work_tree,
            home: spec.home,
            masks: paths.masks,
            read_only: paths.read_only,
            certificates: certificates(),
            limits: limits(&self.settings),
        };
        Container::start(&engine, config).await.map_err(unavailable)
    }

    /// Serves the socket that init listens on inside.
    async fn proxy(&self, isolated: &dyn Isolated) -> Result<Proxy, PortError> {
        let listener = isolated.client().listen(PROXY_PORT).await.map_err(PortError::internal)?;
        let facts = Arc::clone(&self.meter) as Arc<dyn FactsSource>;
        let reach = Reach::new(self.gate.defaults().clone(), self.trusted.clone(), Arc::clone(&facts));
        let reach = reach.metered(Arc::clone(&self.network));
        let dialer = Arc::new(AddressDialer::new(self.gate.seal(), Arc::new(reach)));
        let (gate, network) = (Arc::clone(&self.gate), Arc::clone(&self.network));
        Proxy::start(listener, gate, dialer, facts, ProxyLimits::default(), network)
            .map_err(PortError::internal)
    }
}

fn unavailable(error: impl std::fmt::Display) -> PortError {
    PortError::new(ErrorCode::Unavailable, error.to_string())
}

/// How programs are told of the proxy; the lower-case names are curl's and
/// older tools'.
fn proxy_variables() -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let to_proxy = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let to_proxy = to_proxy.map(|name| (name.to_owned(), proxy.clone()));
    let past_it =
        ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), "localhost,127.0.0.1,::1".to_owned()));
    to_proxy.into_iter().chain(past_it)
}

/// Writes down what runs in the background.
struct Watch(TaskJournal);

impl BackgroundWatch for Watch {
    fn started(&self, command: &Background) {
        let Background { id, command, .. } = command.clone();
        self.0.append(Event::ProcessStarted { id, command });
    }

    fn ended(&self, command: &Background) {
        let Background { id, command, age, exit } = command.clone();
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let exit = exit.map(|exit| exit.to_string()).unwrap_or_default();
        self.0.append(Event::ProcessEnded { id, command, ms, exit });
    }
}

struct Running {
    isolated: Box<dyn Isolated>,
    proxy: Proxy,
    commands: Arc<WorkspaceCommands>,
    files: Arc<dyn Files>,
}

#[async_trait]
impl Workspace for Running {
    fn commands(&self) -> Arc<dyn Commands> {
        Arc::clone(&self.commands) as Arc<dyn Commands>
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.files)
    }

    async fn stop(&self) {
        self.isolated.stop().await;
        self.proxy.stop().await;
    }
}
