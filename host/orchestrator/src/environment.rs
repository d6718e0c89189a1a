//! Which environment holds: the operator's, the repository's, or what its
//! manifests suggest.

use std::time::Duration;

use sortie_core::action::{ImageBuild, Service};
use sortie_core::text::one_line;
use sortie_environment::{Environment, Image, Origin};
use sortie_policy::ports::WorkspaceLimits;

use crate::run::{Adopted, Install, RunError, TaskRun};

/// The backend that has no images.
pub(crate) const SANDBOX: &str = "sandbox";

/// The longest that a command of set-up may take, unless settings say otherwise.
const SETUP_TIME: Duration = Duration::from_secs(30 * 60);

/// A command line of set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetUpCommand {
    pub(crate) line: String,
    /// Whether the task goes on without it: a guess may fail where the task can
    /// still be done, and what somebody set may not.
    pub(crate) may_fail: bool,
}

/// The environment of a task, with everything that there is to say decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// Who says so, for people.
    pub(crate) name: String,
    pub(crate) image: Option<String>,
    /// The image of what must not depend on the repository's choice.
    pub(crate) trusted_image: Option<String>,
    pub(crate) build: Option<ImageBuild>,
    pub(crate) setup: Vec<SetUpCommand>,
    pub(crate) maintenance: Vec<String>,
    pub(crate) root: bool,
    pub(crate) services: Vec<Service>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) cache: Vec<String>,
    pub(crate) limits: WorkspaceLimits,
    /// The longest that one command of set-up may take.
    pub(crate) time: Duration,
    /// The longest that it may be silent.
    pub(crate) idle: Option<Duration>,
}

impl TaskRun {
    /// Decides; what is detected is read from the work tree.
    pub(crate) async fn decide_environment(&self, adopted: &Adopted) -> Result<Decided, RunError> {
        let named = self.plan.environment.clone();
        let is_named = named.is_some();
        let mut environment = named.or_else(|| adopted.environment.clone()).unwrap_or_default();
        if self.plan.backend == SANDBOX && matches!(environment.origin, Origin::Devcontainer(_)) {
            self.warn(format!(
                "{} describes a container: it holds with `--workspace docker`",
                environment.origin
            ));
            environment = Environment::default();
        }
        for notice in &environment.notices {
            self.warn(one_line(&format!("{}: {notice}", environment.origin), 500));
        }
        self.warn_of_unbound(&environment);
        let limits = environment.limits;
        let minutes = limits.setup_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
        let seconds = limits.idle_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let (time, idle) = if is_named {
            let idle = if limits.idle_seconds.is_some() { seconds } else { adopted.limits.setup_idle };
            (minutes.unwrap_or(SETUP_TIME), idle)
        } else {
            // it can only tighten; none is the longest
            let idle = seconds.into_iter().chain(adopted.limits.setup_idle).min();
            (minutes.unwrap_or(SETUP_TIME).min(SETUP_TIME), idle)
        };
        let install = adopted.install.as_ref().unwrap_or(&self.plan.install);
        let setup = self.set_up_commands(&environment, install).await?;
        // the operator's word for all tasks gives way to that for this one alone
        let operators = match &environment.image {
            Some(Image::Named(name)) if is_named => Some(name.clone()),
            _ => self.plan.image.clone(),
        };
        let origin = &environment.origin;
        let (image, build) = match environment.image {
            Some(Image::Built(build)) if is_named || operators.is_none() => (None, Some(build)),
            Some(Image::Named(name)) if operators.is_none() => (Some(name), None),
            None if operators.is_none() => (self.default_image().await?, None),
            _ => (operators.clone(), None),
        };
        // neither what the repository names nor what its Dockerfile makes
        let trusted_image = match operators.or_else(|| image.clone().filter(|_| !origin.is_repositorys())) {
            None => self.default_image().await?,
            trusted => trusted,
        };
        Ok(Decided {
            name: environment.origin.to_string(),
            image,
            trusted_image,
            build,
            setup,
            maintenance: environment.maintenance,
            root: environment.setup_root,
            services: environment.services,
            variables: environment.variables.into_iter().collect(),
            cache: environment.cache,
            limits: WorkspaceLimits {
                memory: limits.memory_mb.map(|mb| mb.saturating_mul(1 << 20)),
                processes: limits.processes,
                cpus: limits.cpus,
            },
            time,
            idle,
        })
    }

    async fn set_up_commands(
        &self,
        environment: &Environment,
        install: &Install,
    ) -> Result<Vec<SetUpCommand>, RunError> {
        let set = |line: &String| SetUpCommand { line: line.clone(), may_fail: false };
        if !environment.setup.is_empty() {
            return Ok(environment.setup.iter().map(set).collect());
        }
        Ok(match install {
            Install::Skip => Vec::new(),
            Install::Command(command) => vec![set(command)],
            // who says what an environment is and names no set-up wants none
            Install::Detect
                if environment.origin != Origin::Detected && !environment.maintenance.is_empty() =>
            {
                Vec::new()
            }
            Install::Detect => {
                let detected = self.detect().await?.steps;
                detected.into_iter().map(|step| SetUpCommand { line: step.command, may_fail: true }).collect()
            }
        })
    }

    /// What a container is made from where nobody says it.
    async fn default_image(&self) -> Result<Option<String>, RunError> {
        if self.plan.backend == SANDBOX {
            return Ok(None);
        }
        Ok(Some(self.detect().await?.image))
    }

    fn warn_of_unbound(&self, environment: &Environment) {
        let bound = |name: &&String| self.plan.secrets.iter().any(|(bound, _)| bound == *name);
        let unbound: Vec<_> =
            environment.wanted_secrets.iter().filter(|name| !bound(name)).map(String::as_str).collect();
        if !unbound.is_empty() {
            self.warn(format!(
                "the repository would like to have secrets that nobody bound: {}; `[environments.NAME.secrets]` \
                 in the settings and `--env NAME` bind them",
                one_line(&unbound.join(", "), 300)
            ));
        }
    }
}
