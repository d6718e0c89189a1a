//! What a task on a repository would be given, without one: the settings, the
//! repository's own say in the commit that the task would start from, and what
//! its manifests suggest.

use std::collections::BTreeSet;

use anyhow::Context as _;
use globset::Glob;
use regex::bytes::RegexBuilder;
use sortie_core::text::one_line;
use sortie_delivery::{Peek, Source};
use sortie_environment::{DEVCONTAINERS, Detected, Environment, Origin, PYTEST, detect, is_python};

use crate::args::{EnvironmentArguments, TaskArguments};
use crate::exit::Failure;
use crate::home::Places;
use crate::settings::{REPOSITORY_PATH, RepositorySettings, Resolved, SettingsFile, read_file, resolve};
use crate::workspaces::SANDBOX;

/// Bytes of a file of the repository that are read.
const FILE_MAX: usize = 256 << 10;
/// Files in the root that are looked at.
const ROOT_MAX: usize = 10_000;

/// What a task would be given.
pub(super) struct Chosen {
    pub(super) arguments: TaskArguments,
    pub(super) user: SettingsFile,
    pub(super) organisation: SettingsFile,
    pub(super) settings: Resolved,
    pub(super) backend: String,
    /// The repository, without credentials.
    pub(super) repository: String,
    /// The commit that the task would start from.
    pub(super) files: Peek,
    /// What the repository's settings say.
    pub(super) own: RepositorySettings,
    /// The environment that holds.
    pub(super) environment: Environment,
    pub(super) detected: Detected,
    /// For people: what does not hold.
    pub(super) notices: Vec<String>,
}

impl Chosen {
    /// Reads it all, and runs nothing.
    ///
    /// # Errors
    /// If settings are wrong, whosever they are, or there is no such repository
    /// on this machine.
    pub(super) fn read(places: &Places, arguments: EnvironmentArguments) -> anyhow::Result<Self> {
        let user = read_file(&places.user_settings)?;
        let organisation = read_file(&places.organisation_settings)?;
        let arguments = arguments.into_task();
        let settings = resolve(&arguments, &user, &organisation)?;
        let cwd = std::env::current_dir().context("the current folder is gone")?;
        let source = Source::parse(arguments.repo.as_deref().unwrap_or("."), &cwd)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let base =
            arguments.base.as_deref().or(settings.environment.as_ref().and_then(|of| of.base.as_deref()));
        let at = |base: Option<&str>| {
            let text =
                "is not on this machine, and nothing is fetched to look at it; name a clone with `--repo`";
            anyhow::Ok(Peek::at(&source, base)?.ok_or_else(|| Failure::usage(format!("{source} {text}")))?)
        };
        let mut files = at(base)?;
        let own = own_settings(&files)?;
        let backend = settings.workspace.backend.clone().unwrap_or_else(|| SANDBOX.into());
        let mut notices = Vec::new();
        let environment = environment(&settings, &own, &files, &backend, &mut notices)?;
        // as a task does: what the repository says counts as it stands where nobody names a base
        let theirs = environment.base.as_deref().filter(|_| base.is_none() && settings.environment.is_none());
        if let Some(theirs) = theirs {
            files = at(Some(theirs))?;
        }
        let detected = detected(&files)?;
        Ok(Self {
            repository: source.masked(),
            arguments,
            user,
            organisation,
            settings,
            backend,
            files,
            own,
            environment,
            detected,
            notices,
        })
    }

    /// Whether the environment is one that the operator names.
    pub(super) fn is_named(&self) -> bool {
        self.settings.environment.is_some()
    }

    /// Secrets that the repository would like to have and nobody binds.
    pub(super) fn unbound(&self) -> Vec<&str> {
        let bound = self.settings.environment.as_ref().map(|environment| &environment.secrets);
        let is_bound = |name: &&String| bound.is_some_and(|bound| bound.contains_key(*name));
        self.environment.wanted_secrets.iter().filter(|name| !is_bound(name)).map(String::as_str).collect()
    }
}

fn own_settings(files: &Peek) -> anyhow::Result<RepositorySettings> {
    match text(files, REPOSITORY_PATH)? {
        Some(text) => RepositorySettings::parse(&text).map_err(Failure::usage),
        None => Ok(RepositorySettings::default()),
    }
}

/// The first that says something.
fn environment(
    settings: &Resolved,
    own: &RepositorySettings,
    files: &Peek,
    backend: &str,
    notices: &mut Vec<String>,
) -> anyhow::Result<Environment> {
    let environment = match (&settings.environment, &own.environment) {
        (Some(named), _) => named.clone(),
        (None, Some(own)) => own.clone(),
        (None, None) => devcontainer(files)?.unwrap_or_default(),
    };
    if backend == SANDBOX && matches!(environment.origin, Origin::Devcontainer(_)) {
        notices.push(format!(
            "{} describes a container: it holds with `--workspace docker`",
            environment.origin
        ));
        return Ok(Environment::default());
    }
    let said = environment.notices.iter();
    notices.extend(said.map(|notice| one_line(&format!("{}: {notice}", environment.origin), 500)));
    Ok(environment)
}

fn devcontainer(files: &Peek) -> anyhow::Result<Option<Environment>> {
    for path in DEVCONTAINERS {
        if let Some(text) = text(files, path)? {
            let environment = sortie_environment::devcontainer(path, &text);
            return environment.map(Some).map_err(|error| Failure::usage(error.to_string()));
        }
    }
    Ok(None)
}

fn detected(files: &Peek) -> anyhow::Result<Detected> {
    let names: BTreeSet<String> = files.root_files(ROOT_MAX)?.into_iter().collect();
    let uses_pytest = is_python(&names) && {
        let (pattern, glob) = PYTEST;
        let pattern = RegexBuilder::new(pattern).multi_line(true).build()?;
        let glob = Glob::new(glob)?.compile_matcher();
        files.any(FILE_MAX, |path| glob.is_match(path), |bytes| pattern.is_match(bytes))?
    };
    Ok(detect(&names, uses_pytest))
}

fn text(files: &Peek, path: &str) -> anyhow::Result<Option<String>> {
    let Some(bytes) = files.read(path, FILE_MAX).map_err(|error| Failure::usage(error.to_string()))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{path} is not UTF-8")))?;
    Ok(Some(text))
}
