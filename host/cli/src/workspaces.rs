//! Workspaces: the built-in sandbox, or a container, with the egress proxy as
//! their only way out.

pub(crate) mod bounds;
mod host_identity;
mod path_rules;
mod running;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sortie_agent::{Journal as _, Meter};
use sortie_core::action::{ImageBuild, Stage, WorkspaceCreate};
use sortie_core::digest::Digest;
use sortie_core::event::Event;
use sortie_core::network::HostPattern;
use sortie_core::secret::Secret;
use sortie_orchestrator::{TaskFolder, TaskJournal, WorkspaceParts};
use sortie_policy::ports::{
    ErrorCode, Files, Identity, NetworkMeter, PortError, Workspace, WorkspaceLimits, WorkspaceSpec,
    Workspaces,
};
use sortie_policy::{FactsSource, Gate, Permit};
use sortie_workspace::Isolated;
use sortie_workspace::commands::{CommandLimits, WorkspaceCommands};
use sortie_workspace::container::{
    BuildConfig, Container, ContainerConfig, ContainerError, Engine, NamedBy, Tell,
};
use sortie_workspace::egress::{AddressDialer, Proxy, ProxyLimits, Reach};
use sortie_workspace::registries;
use sortie_workspace::sandbox::{Limits, Sandbox, SandboxConfig, Toolchains};

use crate::adopt::Repository;
use crate::plugins::{Wanted, rules_in_force};
use crate::settings::WorkspaceSettings;

use host_identity::host_identity;
use path_rules::{PathRules, Paths};
use running::{Running, Watch};
use variables::proxy_variables;

/// How old a container has to be that was made and not started: one takes a moment.
const ABANDONED: Duration = Duration::from_secs(120);

/// Bytes of an image that set-up makes.
const IMAGE_MAX: u64 = 32 << 30;

/// The longest that the build of a Dockerfile may take.
const BUILD_TIME: Duration = Duration::from_secs(60 * 60);

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

/// Whose containers and images those of a state folder are, for labels.
pub(crate) fn owner_of_containers(home: &Path) -> String {
    Digest::of(home.as_os_str().as_encoded_bytes()).to_string()
}

/// The smaller of each.
fn tightened(limits: Limits, most: WorkspaceLimits) -> Limits {
    Limits {
        memory: most.memory.map_or(limits.memory, |most| most.min(limits.memory)),
        processes: most.processes.map_or(limits.processes, |most| most.min(limits.processes)),
        cpus: [most.cpus, limits.cpus].into_iter().flatten().reduce(f64::min),
        ..limits
    }
}

/// What the settings say that one may use.
pub(crate) fn limits(settings: &WorkspaceSettings) -> Limits {
    let defaults = Limits::default();
    Limits {
        memory: settings.memory_mb.map_or(defaults.memory, |mb| mb.saturating_mul(1 << 20)),
        processes: settings.processes.unwrap_or(defaults.processes),
        cpus: settings.cpus.or(defaults.cpus),
        accepted: bounds::accepted(settings),
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
    async fn identify(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: &WorkspaceSpec,
    ) -> Result<Identity, PortError> {
        let action = permit.redeem(self.gate.seal())?;
        let identity = match action.backend.as_str() {
            SANDBOX => Identity { id: host_identity(), image: None },
            DOCKER => self.identify_image(action, spec).await?,
            other => return Err(no_backend(other)),
        };
        // what set-up could read with other rules may be in what it made
        let masks = self.path_rules.rules().in_tree(&spec.work_tree).map_err(PortError::internal)?.masks;
        let masks: Vec<_> = masks.iter().map(|path| path.as_os_str().as_encoded_bytes()).collect();
        Ok(match masks.is_empty() {
            true => identity,
            false => Identity {
                id: format!("{} without {}", identity.id, Digest::of(&masks.join(&0))),
                ..identity
            },
        })
    }

    async fn discard(&self, image: &str) {
        let engine = Engine::connect().await.map_err(|error| error.to_string());
        let removed = match engine {
            Ok(engine) => engine.remove_image(image).await.map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(error, image, "an image that is of no more use is not removed");
        }
    }

    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError> {
        let action = permit.redeem(self.gate.seal())?;
        let paths = self.path_rules.rules().in_tree(&spec.work_tree).map_err(PortError::internal)?;
        let services: Vec<_> = action.services.iter().map(|service| service.name.clone()).collect();
        let given = [spec.variables.clone(), exposed(&spec.secrets)];
        bounds::room(&spec.work_tree, &self.settings)?;
        let folders = vec![spec.work_tree.clone(), spec.home.clone()];
        let wanted = tightened(limits(&self.settings), spec.limits);
        let isolated: Box<dyn Isolated> = match action.backend.as_str() {
            SANDBOX => Box::new(self.sandbox(&action, spec, paths).await?),
            DOCKER => Box::new(self.container(action, &spec, paths).await?),
            other => return Err(no_backend(other)),
        };
        bounds::tell_reduced(&*isolated, &wanted, &self.journal);
        let disk = bounds::watch(&*isolated, folders, &self.settings, &self.journal)?;
        let proxy = self.proxy(&*isolated).await?;
        let [variables, secrets] = given;
        // the later ones win: what an environment says must not hide the way out
        let environment: BTreeMap<_, _> = (isolated.environment().iter().cloned())
            .chain(variables)
            .chain(proxy_variables(&services))
            .chain(registries::variables(|name| std::env::var_os(name)))
            .chain(secrets)
            .collect();
        let commands = WorkspaceCommands::new(
            isolated.client().clone(),
            self.gate.seal(),
            environment.into_iter().collect(),
            CommandLimits::default(),
        )
        .with_counters(isolated.counters())
        .with_watch(Arc::new(Watch(self.journal.clone())));
        let disks = std::iter::once(disk.reached()).chain(isolated.disk());
        let commands = disks.fold(commands, |commands, reached| commands.with_disk(reached));
        Ok(Arc::new(Running {
            isolated,
            disk,
            proxy,
            commands: Arc::new(commands),
            files: Arc::clone(&self.files),
        }))
    }
}

fn exposed(secrets: &[(String, Secret)]) -> Vec<(String, String)> {
    secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned())).collect()
}

fn no_backend(other: &str) -> PortError {
    let text = format!("no workspace backend named `{other}`; there are: {}", BACKENDS.join(", "));
    PortError::new(ErrorCode::Invalid, text)
}

impl Backends {
    async fn sandbox(
        &self,
        action: &WorkspaceCreate,
        spec: WorkspaceSpec,
        paths: Paths,
    ) -> Result<Sandbox, PortError> {
        let needs = [
            (!action.services.is_empty(), "services"),
            (action.root, "set-up as root"),
            (action.build.is_some(), "a Dockerfile"),
        ];
        if let Some((_, what)) = needs.iter().find(|(is_needed, _)| *is_needed) {
            let text = format!(
                "the environment asks for {what}, which the built-in sandbox has not\nhint: `--workspace docker`, or \
                 `--env none` for what the repository's manifests suggest"
            );
            return Err(PortError::new(ErrorCode::Unavailable, text));
        }
        let mut config = config(spec.work_tree, spec.home, &self.settings);
        config.limits = tightened(config.limits, spec.limits);
        config.masks = paths.masks;
        config.read_only = paths.read_only;
        config.hidden.clone_from(&self.hidden);
        Sandbox::start(config).await.map_err(unavailable)
    }

    async fn engine(&self) -> Result<Engine, PortError> {
        let engine = Engine::connect().await.map_err(unavailable)?;
        Ok(engine.leaving(bounds::disk(&self.settings).free))
    }

    fn owner(&self) -> String {
        owner_of_containers(&self.home)
    }

    fn pulling(&self) -> impl FnMut(&str) {
        |text| self.journal.append(Event::Progress { text: text.to_owned() })
    }

    /// Who named an image: a repository, if it is among those that the task knows to be its.
    fn named_by(&self, image: &str, spec: &WorkspaceSpec) -> NamedBy {
        match spec.images_of_repository.iter().any(|its| its == image) {
            true => NamedBy::Repository(self.settings.image_registries.clone()),
            false => NamedBy::Operator,
        }
    }

    /// Has the engine bring all images that the workspace needs.
    async fn identify_image(
        &self,
        action: WorkspaceCreate,
        spec: &WorkspaceSpec,
    ) -> Result<Identity, PortError> {
        let engine = self.engine().await?;
        if let Some(id) = action.image_id {
            return match engine.has_image(&id).await.map_err(no_container)? {
                true => Ok(Identity { id: id.clone(), image: Some(id) }),
                false => Err(PortError::new(ErrorCode::NotFound, format!("there is no image {id}"))),
            };
        }
        for service in &action.services {
            let by = self.named_by(&service.image, spec);
            engine.identify(&service.image, &by, self.pulling()).await.map_err(no_container)?;
        }
        let id = match (&action.image, &action.build) {
            (_, Some(build)) => self.build(&engine, build, spec).await?,
            (Some(image), None) => {
                let by = self.named_by(image, spec);
                engine.identify(image, &by, self.pulling()).await.map_err(no_container)?
            }
            (None, None) => return Err(PortError::new(ErrorCode::Invalid, "a container needs an image")),
        };
        Ok(Identity { id: id.clone(), image: Some(id) })
    }

    /// Builds a Dockerfile of the repository, whose steps have the network of a
    /// workspace and no other.
    async fn build(
        &self,
        engine: &Engine,
        build: &ImageBuild,
        spec: &WorkspaceSpec,
    ) -> Result<String, PortError> {
        let owner = self.owner();
        let paths = self.path_rules.rules().in_tree(&spec.work_tree).map_err(PortError::internal)?;
        let image = engine.blank(&owner).await.map_err(no_container)?;
        let config = self.container_config(image, Stage::SetUp, spec, paths);
        let network = Container::start(engine, config).await.map_err(no_container)?;
        let proxy = self.proxy(&network).await?;
        let build = BuildConfig {
            work_tree: &spec.work_tree,
            build,
            network: &network,
            proxy: &proxy_variables(&[]).collect::<Vec<_>>(),
            registries: &self.settings.image_registries,
            owner: &owner,
            task: &self.meter.facts().task,
            limits: tightened(limits(&self.settings), spec.limits),
            most_time: BUILD_TIME,
        };
        let built = engine.build(build, self.pulling()).await;
        network.stop().await;
        proxy.stop().await;
        built.map_err(no_container)
    }

    fn container_config(
        &self,
        image: String,
        stage: Stage,
        spec: &WorkspaceSpec,
        paths: Paths,
    ) -> ContainerConfig {
        let journal = self.journal.clone();
        ContainerConfig {
            task: self.meter.facts().task,
            owner: self.owner(),
            masks: paths.masks,
            read_only: paths.read_only,
            certificates: certificates(),
            limits: tightened(limits(&self.settings), spec.limits),
            disk: bounds::disk(&self.settings),
            tell: Tell::new(move |text| journal.append(Event::Warning { text })),
            stage,
            ..ContainerConfig::new(
                image,
                sortie_bundle::init(),
                WorkspaceParts::of(&spec.work_tree).container(),
                spec.work_tree.clone(),
                spec.home.clone(),
            )
        }
    }

    async fn container(
        &self,
        action: WorkspaceCreate,
        spec: &WorkspaceSpec,
        paths: Paths,
    ) -> Result<Container, PortError> {
        let engine = self.engine().await?;
        // it costs an engine's answer, and what it fails at the next task does
        let is_alive = |task: &str| task.parse().is_ok_and(|task| TaskFolder::is_taken(&self.home, &task));
        if let Err(error) = engine.sweep(&self.owner(), ABANDONED, is_alive).await {
            tracing::warn!(%error, "containers of hosts that were killed are not removed");
        }
        let image = match (action.image_id, action.image) {
            (Some(id), _) => id,
            (None, Some(image)) => {
                let by = self.named_by(&image, spec);
                engine.identify(&image, &by, self.pulling()).await.map_err(no_container)?
            }
            (None, None) => return Err(PortError::new(ErrorCode::Invalid, "a container needs an image")),
        };
        // they are all of one environment
        let services_by = (action.services.iter().map(|service| self.named_by(&service.image, spec)))
            .find(|by| *by != NamedBy::Operator)
            .unwrap_or(NamedBy::Operator);
        let config = ContainerConfig {
            root: action.root,
            services: action.services,
            services_by,
            ..self.container_config(image, action.stage, spec, paths)
        };
        Container::start(&engine, config).await.map_err(no_container)
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

fn no_container(error: ContainerError) -> PortError {
    match error {
        // with the engine all is well
        ContainerError::Unwanted(why) => PortError::new(ErrorCode::Invalid, why.to_string()),
        error => unavailable(error),
    }
}

fn unavailable(error: impl std::fmt::Display) -> PortError {
    PortError::new(ErrorCode::Unavailable, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_an_environment_tighten_and_never_widen() {
        let ours = Limits { memory: 1000, processes: 10, cpus: Some(2.0), ..Limits::default() };
        let of = |memory, processes, cpus| {
            let most = WorkspaceLimits { memory: Some(memory), processes: Some(processes), cpus: Some(cpus) };
            let limits = tightened(ours, most);
            (limits.memory, limits.processes, limits.cpus)
        };
        assert_eq!(of(1001, 11, 2.5), (1000, 10, Some(2.0)));
        assert_eq!(of(999, 9, 1.5), (999, 9, Some(1.5)));
        let open = Limits { cpus: None, ..ours };
        let tightened = tightened(open, WorkspaceLimits { cpus: Some(1.0), ..WorkspaceLimits::default() });
        assert_eq!((tightened.memory, tightened.cpus), (1000, Some(1.0)));
    }
}
