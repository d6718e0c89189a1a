//! What a task on a repository would be given, without one: the settings, the
//! repository's own say in the commit that the task would start from, and what
//! its manifests suggest.

use std::collections::BTreeSet;

use anyhow::Context as _;
use globset::Glob;
use regex::bytes::RegexBuilder;
use sortie_delivery::{Peek, Source};
use sortie_environment::{Choice, DEVCONTAINERS, Detected, Environment, Offers, PYTEST, detect, is_python};

use crate::args::{EnvironmentArguments, TaskArguments};
use crate::exit::Failure;
use crate::home::Places;
use crate::settings::{
    REPOSITORY_PATH, RepositorySettings, Resolved, SettingsFile, install, read_file, resolve,
};
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
    /// The environment that holds, and what else is said.
    pub(super) choice: Choice,
    pub(super) detected: Detected,
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
        let choice = choice(&settings, &own, &files, &backend)?;
        // as a task does: what the repository says counts as it stands where nobody names a base
        let theirs = choice.environment.base.as_deref().filter(|_| base.is_none() && !choice.is_named);
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
            choice,
            detected,
        })
    }

    /// The environment that holds.
    pub(super) fn environment(&self) -> &Environment {
        &self.choice.environment
    }

    /// Secrets that the repository would like to have and nobody binds.
    pub(super) fn unbound(&self) -> Vec<&str> {
        let bound = self.settings.environment.as_ref().map(|environment| &environment.secrets);
        let is_bound = |name: &&String| bound.is_some_and(|bound| bound.contains_key(*name));
        self.environment().wanted_secrets.iter().filter(|name| !is_bound(name)).map(String::as_str).collect()
    }
}

fn own_settings(files: &Peek) -> anyhow::Result<RepositorySettings> {
    match text(files, REPOSITORY_PATH)? {
        Some(text) => RepositorySettings::parse(&text).map_err(Failure::usage),
        None => Ok(RepositorySettings::default()),
    }
}

/// What a task would decide by.
fn choice(
    settings: &Resolved,
    own: &RepositorySettings,
    files: &Peek,
    backend: &str,
) -> anyhow::Result<Choice> {
    let environment = match (&settings.environment, &own.environment) {
        (None, None) => devcontainer(files)?,
        (_, environment) => environment.clone(),
    };
    Ok(Choice::of(Offers {
        named: settings.environment.clone(),
        own: environment,
        image: settings.workspace.image.clone(),
        install: settings.install.clone(),
        own_install: own.install.clone().map(|command| install(Some(command))),
        has_images: backend != SANDBOX,
    }))
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
