//! Which environment holds: the operator's, the repository's, or what its
//! manifests suggest; and what a task makes of it.

use std::time::Duration;

use sortie_core::action::{ImageBuild, Service};
use sortie_core::network::NetworkRule;
use sortie_core::text::one_line;
use sortie_environment::{Choice, Environment, Image, Offers, Said};
use sortie_policy::ports::WorkspaceLimits;

use crate::run::{Adopted, RunError, TaskRun};

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
    /// Images that the repository named: its services' among them.
    pub(crate) images_of_repository: Vec<String>,
    pub(crate) build: Option<ImageBuild>,
    pub(crate) setup: Vec<SetUpCommand>,
    pub(crate) maintenance: Vec<String>,
    pub(crate) root: bool,
    pub(crate) services: Vec<Service>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) cache: Vec<String>,
    /// Who says whom set-up may contact: each of these has to agree.
    pub(crate) setup_networks: Vec<NetworkRule>,
    pub(crate) limits: WorkspaceLimits,
    /// The longest that one command of set-up may take.
    pub(crate) time: Duration,
    /// The longest that it may be silent.
    pub(crate) idle: Option<Duration>,
}

impl TaskRun {
    /// Decides; what is detected is read from the work tree.
    pub(crate) async fn decide_environment(&self, adopted: &Adopted) -> Result<Decided, RunError> {
        let choice = Choice::of(Offers {
            named: self.plan.environment.clone(),
            own: adopted.environment.clone(),
            image: self.plan.image.clone(),
            install: self.plan.install.clone(),
            own_install: adopted.install.clone(),
            has_images: self.plan.backend != SANDBOX,
        });
        for notice in &choice.notices {
            self.warn(notice.clone());
        }
        if self.plan.backend == SANDBOX {
            choice.check_sandbox()?;
        } else {
            choice.check_images(&self.plan.image_registries)?;
        }
        let images_of_repository = choice.images_of_repository();
        self.warn_of_unbound(&choice.environment);
        let setup = self.set_up_commands(&choice).await?;
        let (image, build) = match choice.image() {
            Said::By(_, Image::Named(name)) => (Some(name), None),
            Said::By(_, Image::Built(build)) => (None, Some(build)),
            Said::Nobody => (self.default_image().await?, None),
        };
        let trusted_image = match choice.trusted_image() {
            None => self.default_image().await?,
            trusted => trusted,
        };
        let has_images = self.plan.backend != SANDBOX;
        let (image, trusted_image) = (image.filter(|_| has_images), trusted_image.filter(|_| has_images));
        let (time, idle) = times(&choice, adopted);
        let environment = choice.environment;
        Ok(Decided {
            name: environment.origin.to_string(),
            image,
            trusted_image,
            images_of_repository,
            build,
            setup,
            maintenance: environment.maintenance,
            root: environment.setup_root,
            services: environment.services,
            variables: environment.variables.into_iter().collect(),
            cache: environment.cache,
            setup_networks: [self.gate.defaults().setup_network.clone()]
                .into_iter()
                .chain(adopted.setup_networks.iter().cloned())
                .collect(),
            limits: WorkspaceLimits {
                memory: environment.limits.memory_mb.map(|mb| mb.saturating_mul(1 << 20)),
                processes: environment.limits.processes,
                cpus: environment.limits.cpus,
            },
            time,
            idle,
        })
    }

    async fn set_up_commands(&self, choice: &Choice) -> Result<Vec<SetUpCommand>, RunError> {
        let command = |line, may_fail| SetUpCommand { line, may_fail };
        Ok(match choice.set_up()? {
            Said::By(_, lines) => lines.into_iter().map(|line| command(line, false)).collect(),
            Said::Nobody => {
                let detected = self.detect().await?.steps;
                detected.into_iter().map(|step| command(step.command, true)).collect()
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

/// How long a command of set-up may take, and how long it may be silent.
fn times(choice: &Choice, adopted: &Adopted) -> (Duration, Option<Duration>) {
    let limits = choice.environment.limits;
    let minutes = limits.setup_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let seconds = limits.idle_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    if choice.is_named {
        let idle = if limits.idle_seconds.is_some() { seconds } else { adopted.limits.setup_idle };
        return (minutes.unwrap_or(SETUP_TIME), idle);
    }
    // it can only tighten; none is the longest
    let idle = seconds.into_iter().chain(adopted.limits.setup_idle).min();
    (minutes.unwrap_or(SETUP_TIME).min(SETUP_TIME), idle)
}
