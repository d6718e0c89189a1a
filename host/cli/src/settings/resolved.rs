//! What holds, once everything is said.

use std::time::Duration;

use sortie_agent::Limits;
use sortie_core::Phase;
use sortie_core::network::{HostPattern, NetworkRule};
use sortie_delivery::{Identity, MirrorBounds};
use sortie_environment::{Environment, EnvironmentLimits, Image, Install};
use sortie_model::{ModelSpec, Options};
use sortie_workspace::archive::{PackLimits, Retention};
use sortie_workspace::sandbox::Reduced;
use sortie_workspace::snapshot::SnapshotRules;

use super::environment::named;
use super::file::{
    ArchiveSettings, KeepArchives, LimitSettings, PluginSettings, SettingsFile, TestSettings,
    WorkspaceSettings,
};
use crate::args::TaskArguments;
use crate::exit::Failure;
use crate::workspaces::BACKENDS;

/// Megabytes that a task may send and receive where nobody says otherwise.
const NETWORK_MB: u64 = 10 << 10;

/// The settings of a task, before its repository has a say.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) model: ModelSpec,
    pub(crate) model_options: Options,
    pub(crate) install: Install,
    pub(crate) test: TestSettings,
    pub(crate) setup_network: NetworkRule,
    pub(crate) agent_network: NetworkRule,
    pub(crate) trusted: Vec<HostPattern>,
    /// Bytes that the task may send and receive together.
    pub(crate) network_bytes: u64,
    pub(crate) limits: Limits,
    pub(crate) workspace: WorkspaceSettings,
    /// The environment that the operator names; where its origin is
    /// `Detected`, the repository's own does not count either. Its network
    /// rules, limits and tests are in force above.
    pub(crate) environment: Option<Environment>,
    /// How set-ups are kept; none where they are not.
    pub(crate) snapshots: Option<SnapshotRules>,
    /// How much of mirrors is kept; none where tasks fetch without.
    pub(crate) mirrors: Option<MirrorBounds>,
    pub(crate) archive: ArchiveRules,
    pub(crate) author: Identity,
    pub(crate) push: bool,
}

impl Resolved {
    /// The key of the settings that says where a phase may connect to.
    pub(crate) fn network_key(&self, phase: Phase) -> String {
        let (key, of_environment): (_, fn(&Environment) -> bool) = match phase {
            Phase::Prepare => ("setup", |these| these.setup_network.is_some()),
            _ => ("agent", |these| these.agent_network.is_some()),
        };
        let environment = self.environment.as_ref().filter(|these| of_environment(these));
        match environment.and_then(|these| these.origin.name()) {
            Some(name) => format!("environments.{}.network.{key}", toml_edit::Key::new(name)),
            None => format!("network.{key}"),
        }
    }
}

impl LimitSettings {
    /// These, and `others` where nothing is said.
    pub(crate) fn over(&self, others: Limits) -> Limits {
        let minutes = |minutes: Option<u64>| minutes.map(|m| Duration::from_secs(m.saturating_mul(60)));
        Limits {
            turns: self.turns.unwrap_or(others.turns),
            tokens: self.tokens.unwrap_or(others.tokens),
            time: minutes(self.minutes).unwrap_or(others.time),
            call: minutes(self.call_minutes).unwrap_or(others.call),
            reply_tokens: self.reply_tokens.unwrap_or(others.reply_tokens),
            setup_idle: match self.idle_seconds {
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => others.setup_idle,
            },
            shown: others.shown,
        }
    }
}

/// Puts flags, the user's and the organisation's settings together.
pub(crate) fn resolve(
    arguments: &TaskArguments,
    user: &SettingsFile,
    organisation: &SettingsFile,
) -> anyhow::Result<Resolved> {
    let model = arguments.model.as_ref().or(user.model.as_ref()).or(organisation.model.as_ref()).ok_or_else(|| {
        Failure::usage(
            "no model is set\nhint: `--model anthropic/NAME`, `--model openai/NAME`, or `model = \"…\"` in the \
             settings; `sortie demo` needs none",
        )
    })?;
    let model = ModelSpec::parse(model).map_err(|error| Failure::usage(error.to_string()))?;
    let effort = user.reasoning_effort.as_ref().or(organisation.reasoning_effort.as_ref());
    let effort = effort
        .map(|effort| effort.parse().map_err(|error| Failure::usage(format!("reasoning_effort: {error}"))))
        .transpose()?;
    let mut trusted = organisation.network.trusted()?;
    trusted.extend(user.network.trusted()?);
    let mut limits = user.limits.over(organisation.limits.over(Limits::default()));
    limits.turns = arguments.max_turns.unwrap_or(limits.turns);
    limits.tokens = arguments.max_tokens.unwrap_or(limits.tokens);
    limits.time = arguments.max_time.unwrap_or(limits.time);
    let environment = environment(arguments, user, organisation)?;
    let its = environment.clone().unwrap_or_default();
    limits.setup_idle = match its.limits.idle_seconds {
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => limits.setup_idle,
    };
    let rule = |pick: fn(&SettingsFile) -> &Option<NetworkRule>| {
        pick(user).clone().or_else(|| pick(organisation).clone())
    };
    let either = |pick: fn(&SettingsFile) -> &Option<String>| {
        pick(user).clone().or_else(|| pick(organisation).clone())
    };
    Ok(Resolved {
        model,
        model_options: Options { reasoning_effort: effort, ..Options::default() },
        install: install(either(|file| &file.install)),
        test: match its.test {
            Some(test) => TestSettings { command: test.command, format: test.format },
            None if user.test.command.is_empty() => organisation.test.clone(),
            None => user.test.clone(),
        },
        setup_network: its
            .setup_network
            .or_else(|| rule(|file| &file.network.setup))
            .unwrap_or(NetworkRule::All),
        agent_network: arguments
            .network
            .clone()
            .or(its.agent_network)
            .or_else(|| rule(|file| &file.network.agent))
            .unwrap_or(NetworkRule::None),
        trusted,
        network_bytes: (user.network.max_mb.or(organisation.network.max_mb))
            .unwrap_or(NETWORK_MB)
            .saturating_mul(1 << 20),
        limits,
        workspace: workspace(arguments, its.limits, &user.workspace, &organisation.workspace)?,
        environment,
        snapshots: snapshots(user, organisation),
        mirrors: mirrors(user, organisation),
        archive: archive(user, organisation),
        author: Identity {
            name: either(|file| &file.author.name).unwrap_or_else(|| "Sortie".into()),
            email: either(|file| &file.author.email).unwrap_or_else(|| "sortie@localhost".into()),
        },
        push: arguments.deliver.as_deref() != Some("none"),
    })
}

pub(crate) fn install(command: Option<String>) -> Install {
    match command {
        None => Install::Detect,
        Some(command) if command.trim().is_empty() => Install::Skip,
        Some(command) => Install::Command(command),
    }
}

/// The environment that a flag or the settings name. An image of the command
/// line goes before its own.
pub(crate) fn environment(
    arguments: &TaskArguments,
    user: &SettingsFile,
    organisation: &SettingsFile,
) -> anyhow::Result<Option<Environment>> {
    let names = [&arguments.env, &user.environment, &organisation.environment];
    let Some(name) = names.into_iter().flatten().next() else { return Ok(None) };
    let mut environment = named(name, user, organisation)?;
    if let Some(image) = arguments.image.as_ref().filter(|image| !image.is_empty()) {
        environment.image = Some(Image::Named(image.clone()));
    }
    Ok(Some(environment))
}

fn workspace(
    arguments: &TaskArguments,
    environment: EnvironmentLimits,
    user: &WorkspaceSettings,
    organisation: &WorkspaceSettings,
) -> anyhow::Result<WorkspaceSettings> {
    let first = |flag: &Option<String>, pick: fn(&WorkspaceSettings) -> &Option<String>| {
        [flag, pick(user), pick(organisation)].into_iter().flatten().find(|text| !text.is_empty()).cloned()
    };
    let backend = first(&arguments.workspace, |these| &these.backend);
    if let Some(unknown) = backend.as_deref().filter(|backend| !BACKENDS.contains(backend)) {
        let known = BACKENDS.join("` and `");
        return Err(Failure::usage(format!("no workspace backend named `{unknown}`; there are `{known}`")));
    }
    Ok(WorkspaceSettings {
        backend,
        image: first(&arguments.image, |these| &these.image),
        memory_mb: environment.memory_mb.or(user.memory_mb).or(organisation.memory_mb),
        processes: environment.processes.or(user.processes).or(organisation.processes),
        cpus: environment.cpus.or(user.cpus).or(organisation.cpus),
        disk_mb: user.disk_mb.or(organisation.disk_mb),
        disk_free_mb: user.disk_free_mb.or(organisation.disk_free_mb),
        accept: accept(&[&arguments.accept, &user.accept, &organisation.accept])?,
        image_registries: organisation.image_registries.clone().and(user.image_registries.clone()),
    })
}

/// All that somebody accepts.
fn accept(lists: &[&[String]]) -> anyhow::Result<Vec<String>> {
    let names = lists.iter().copied().flatten();
    let known = Reduced::ALL.map(Reduced::name);
    if let Some(unknown) = names.clone().find(|name| !known.contains(&name.as_str())) {
        let known = known.join("`, `");
        let text = format!("workspace.accept: nothing to accept is named `{unknown}`; there are `{known}`");
        return Err(Failure::usage(text));
    }
    Ok(names.cloned().collect())
}

/// How set-ups are kept; none where the settings want none kept.
pub(crate) fn snapshots(user: &SettingsFile, organisation: &SettingsFile) -> Option<SnapshotRules> {
    let (user, organisation) = (&user.snapshots, &organisation.snapshots);
    let defaults = SnapshotRules::default();
    let bytes = |mb: Option<u64>, default| mb.map_or(default, |mb: u64| mb.saturating_mul(1 << 20));
    let days = user.keep_days.or(organisation.keep_days);
    user.enabled.or(organisation.enabled).unwrap_or(true).then(|| SnapshotRules {
        unused: days.map_or(defaults.unused, |days| Duration::from_secs(days.saturating_mul(86_400))),
        total: bytes(user.max_mb.or(organisation.max_mb), defaults.total),
        one: bytes(user.one_mb.or(organisation.one_mb), defaults.one),
    })
}

/// How much of mirrors is kept; none where the settings want none used.
pub(crate) fn mirrors(user: &SettingsFile, organisation: &SettingsFile) -> Option<MirrorBounds> {
    let (user, organisation) = (&user.mirrors, &organisation.mirrors);
    let defaults = MirrorBounds::default();
    let days = user.keep_days.or(organisation.keep_days);
    let megabytes = user.max_mb.or(organisation.max_mb);
    user.enabled.or(organisation.enabled).unwrap_or(true).then(|| MirrorBounds {
        unused: days.map_or(defaults.unused, |days| Duration::from_secs(days.saturating_mul(86_400))),
        bytes: megabytes.map_or(defaults.bytes, |megabytes| megabytes.saturating_mul(1 << 20)),
        ..defaults
    })
}

/// What is kept of tasks, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveRules {
    pub(crate) keep: KeepArchives,
    pub(crate) retention: Retention,
    pub(crate) limits: PackLimits,
}

/// Files and folders of a workspace that is archived.
const ARCHIVE_ENTRIES: u64 = 2_000_000;

/// The user's and the organisation's rules of archives.
pub(crate) fn archive(user: &SettingsFile, organisation: &SettingsFile) -> ArchiveRules {
    let first = |pick: fn(&ArchiveSettings) -> Option<u64>, default: u64| {
        pick(&user.archive).or_else(|| pick(&organisation.archive)).unwrap_or(default)
    };
    let bytes = |megabytes: u64| megabytes.saturating_mul(1 << 20);
    let all = bytes(first(|these| these.max_mb, 10 << 10));
    let days = first(|these| these.keep_days, 30);
    ArchiveRules {
        keep: user.archive.keep.or(organisation.archive.keep).unwrap_or_default(),
        retention: Retention { age: Duration::from_secs(days.saturating_mul(86_400)), bytes: all },
        limits: PackLimits {
            file: bytes(first(|these| these.file_mb, 256)),
            total: bytes(first(|these| these.task_mb, 4 << 10)),
            entries: ARCHIVE_ENTRIES,
            archive: all,
        },
    }
}

/// All `[[plugin]]` entries; an id that occurs in both files is the
/// organisation's, so that a user cannot widen what the organisation set.
pub(crate) fn plugins<'a>(
    user: &'a SettingsFile,
    organisation: &'a SettingsFile,
) -> Vec<(&'a PluginSettings, sortie_policy::Layer)> {
    let owned = |id: &str| organisation.plugin.iter().any(|plugin| plugin.id == id);
    let above = organisation.plugin.iter().map(|plugin| (plugin, sortie_policy::Layer::Organisation));
    let below = user.plugin.iter().filter(|plugin| !owned(&plugin.id));
    above.chain(below.map(|plugin| (plugin, sortie_policy::Layer::User))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::parse;

    fn file(text: &str) -> SettingsFile {
        parse(text, "config.toml").expect("settings")
    }

    #[test]
    fn registries_that_a_repository_may_name_are_those_of_both_files() {
        let of = |host: &str| format!("[workspace]\nimage_registries = [\"{host}\"]\n");
        let arguments = TaskArguments { model: Some("scripted:x".into()), ..TaskArguments::default() };
        let resolved = resolve(&arguments, &file(&of("a.b")), &file(&of("c:5000"))).expect("resolves");
        let registries = resolved.workspace.image_registries;
        let is_listed = |image: &str| registries.check(image).is_ok();
        assert!(is_listed("a.b/x") && is_listed("c:5000/x") && !is_listed("d.e/x"));
        let error = parse::<SettingsFile>(&of("https://a.b"), "c").expect_err("it is none");
        assert!(error.starts_with("c:2: ") && error.contains("write `host` or `host:port`"), "{error}");
    }

    #[test]
    fn what_is_kept_of_mirrors_is_the_users_before_the_organisations_before_the_defaults() {
        let of = |user: &str, organisation: &str| mirrors(&file(user), &file(organisation));
        assert_eq!(of("", ""), Some(MirrorBounds::default()));
        let kept = of("[mirrors]\nkeep_days = 2\n", "[mirrors]\nkeep_days = 9\nmax_mb = 3\n").expect("kept");
        assert_eq!((kept.unused, kept.bytes), (Duration::from_secs(2 * 86_400), 3 << 20));
        assert_eq!(of("", "[mirrors]\nenabled = false\n"), None);
        assert!(of("[mirrors]\nenabled = true\n", "[mirrors]\nenabled = false\n").is_some());
        let endless = of(&format!("[mirrors]\nkeep_days = {0}\nmax_mb = {0}\n", i64::MAX), "").expect("kept");
        assert_eq!((endless.unused, endless.bytes), (Duration::from_secs(u64::MAX), u64::MAX));
    }
}
