//! The file of a user or an organisation.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use sortie_core::image::ImageRegistries;
use sortie_core::network::{HostPattern, NetworkRule};
use sortie_environment::{OperatorTable, check_format, check_memory_mb, check_processes};
use sortie_plugin_host::Grants;

use super::environment::NONE;
use crate::exit::Failure;

/// Bytes of a settings file that are read.
const FILE_MAX: u64 = 1 << 20;

/// A settings file. Every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SettingsFile {
    /// `provider/name`, as `--model` takes it.
    pub(crate) model: Option<String>,
    /// How much the model reasons: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
    pub(crate) reasoning_effort: Option<String>,
    /// The command that installs dependencies, for `sh -c`; `""` for none.
    pub(crate) install: Option<String>,
    /// Whether the first-party rules hold; true by default.
    pub(crate) default_rules: Option<bool>,
    /// Where a task may connect to.
    pub(crate) network: NetworkSettings,
    /// The budgets of a task.
    pub(crate) limits: LimitSettings,
    /// What the commands in a workspace may use up.
    pub(crate) workspace: WorkspaceSettings,
    /// The name of the environment of tasks, as `--env` takes it.
    #[serde(deserialize_with = "name_of_environment")]
    pub(crate) environment: Option<String>,
    /// What workspaces are made of and how they are prepared, by name.
    pub(crate) environments: BTreeMap<String, OperatorTable>,
    /// What is kept of set-ups.
    pub(crate) snapshots: SnapshotSettings,
    /// What is kept of what remotes sent.
    pub(crate) mirrors: MirrorSettings,
    /// What is kept of tasks that ended.
    pub(crate) archive: ArchiveSettings,
    /// The author of commits.
    pub(crate) author: AuthorSettings,
    /// How tests are run.
    pub(crate) test: TestSettings,
    /// Rules for the policy `rules`; see docs/plugins.md.
    pub(crate) rule: Vec<toml::Table>,
    /// Tools and policies.
    pub(crate) plugin: Vec<PluginSettings>,
}

/// `[network]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct NetworkSettings {
    /// The rule of set-up; `all` by default.
    pub(crate) setup: Option<NetworkRule>,
    /// The rule of the agent; `none` by default.
    pub(crate) agent: Option<NetworkRule>,
    /// Hosts whose addresses need not be public, such as a mirror within the
    /// company. This does not let anything connect to them: the rules do.
    pub(crate) trusted: Vec<String>,
    /// Megabytes (2^20 bytes) that a task may send and receive together;
    /// 10240 by default.
    pub(crate) max_mb: Option<u64>,
}

impl NetworkSettings {
    pub(crate) fn trusted(&self) -> anyhow::Result<Vec<HostPattern>> {
        self.trusted
            .iter()
            .map(|host| {
                host.parse().map_err(|_| Failure::usage(format!("network.trusted: `{host}` is no host")))
            })
            .collect()
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct LimitSettings {
    /// Model turns.
    pub(crate) turns: Option<u32>,
    /// Tokens, sent and received together.
    pub(crate) tokens: Option<u64>,
    /// Minutes of the work phase.
    pub(crate) minutes: Option<u64>,
    /// Minutes of one tool call.
    pub(crate) call_minutes: Option<u64>,
    /// Tokens of one reply.
    pub(crate) reply_tokens: Option<u32>,
    /// Seconds that a command of set-up may go without output; 0 for as long as it runs.
    pub(crate) idle_seconds: Option<u64>,
}

/// `[workspace]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct WorkspaceSettings {
    /// The kind: `sandbox` or `docker`.
    pub(crate) backend: Option<String>,
    /// The image of containers, by name or digest.
    pub(crate) image: Option<String>,
    /// Megabytes (2^20 bytes) of memory.
    #[serde(deserialize_with = "memory_mb")]
    pub(crate) memory_mb: Option<u64>,
    /// Processes and threads.
    #[serde(deserialize_with = "processes")]
    pub(crate) processes: Option<u64>,
    /// Processors, such as 1.5.
    pub(crate) cpus: Option<f64>,
    /// Megabytes of the disk for the work tree and the home together.
    pub(crate) disk_mb: Option<u64>,
    /// Megabytes that stay free on the disk.
    pub(crate) disk_free_mb: Option<u64>,
    /// Limits to do without where nobody can keep them, by the names that
    /// `sortie doctor` gives.
    pub(crate) accept: Vec<String>,
    /// Registries, as `host` or `host:port`, that the engine may pull images
    /// from which a repository names, beside its own.
    pub(crate) image_registries: ImageRegistries,
}

/// `[snapshots]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct SnapshotSettings {
    /// Whether set-ups are kept for later tasks, and taken from earlier ones; true by default.
    pub(crate) enabled: Option<bool>,
    /// Days that one is kept which no task uses; 14 by default.
    pub(crate) keep_days: Option<u64>,
    /// Megabytes (2^20 bytes) of all snapshots together; 20480 by default.
    pub(crate) max_mb: Option<u64>,
    /// Megabytes of what one set-up may leave in work tree and home; 8192 by default.
    pub(crate) one_mb: Option<u64>,
}

/// `[mirrors]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct MirrorSettings {
    /// Whether tasks fetch by way of mirrors of remotes; true by default.
    pub(crate) enabled: Option<bool>,
    /// Days that one is kept which no task uses; 30 by default.
    pub(crate) keep_days: Option<u64>,
    /// Megabytes (2^20 bytes) of all mirrors together; 20480 by default.
    pub(crate) max_mb: Option<u64>,
}

/// `[archive]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct ArchiveSettings {
    /// Which tasks are archived.
    pub(crate) keep: Option<KeepArchives>,
    /// Days until an archive is removed.
    pub(crate) keep_days: Option<u64>,
    /// Megabytes (2^20 bytes) of all archives together.
    pub(crate) max_mb: Option<u64>,
    /// Megabytes of a workspace that go into an archive, before compression.
    pub(crate) task_mb: Option<u64>,
    /// Megabytes of the largest file that goes into an archive.
    pub(crate) file_mb: Option<u64>,
}

/// Which tasks are archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeepArchives {
    /// All of them.
    #[default]
    All,
    /// Those that did not end as done.
    Failed,
    /// None.
    None,
}

/// `[author]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct AuthorSettings {
    /// The name.
    pub(crate) name: Option<String>,
    /// The address.
    pub(crate) email: Option<String>,
}

fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let format = String::deserialize(deserializer)?;
    check_format(&format).map_err(|reason| D::Error::custom(format!("test.format: {reason}")))?;
    Ok(Some(format))
}

fn memory_mb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let megabytes = u64::deserialize(deserializer)?;
    check_memory_mb(megabytes)
        .map_err(|reason| D::Error::custom(format!("workspace.memory_mb: {reason}")))?;
    Ok(Some(megabytes))
}

fn processes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let processes = u64::deserialize(deserializer)?;
    check_processes(processes)
        .map_err(|reason| D::Error::custom(format!("workspace.processes: {reason}")))?;
    Ok(Some(processes))
}

/// `[test]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct TestSettings {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// How its output is read; see the tool `run_tests`.
    #[serde(deserialize_with = "format")]
    pub(crate) format: Option<String>,
}

/// `[[plugin]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct PluginSettings {
    /// Its id: unique; the id of a first-party plugin changes that one.
    pub(crate) id: String,
    /// The component; relative to the settings file. Left out for first-party plugins.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 that the component must have.
    pub(crate) sha256: Option<String>,
    /// Whether it is loaded; true by default.
    pub(crate) enabled: Option<bool>,
    /// What it may ask for.
    pub(crate) grants: Option<Grants>,
    /// Settings of its own.
    #[serde(default)]
    pub(crate) settings: toml::Table,
    /// For a policy: the lower comes first; 0 by default.
    #[serde(default)]
    pub(crate) priority: i32,
    /// For a policy: kinds of actions that it is asked about; all by default.
    pub(crate) actions: Option<Vec<sortie_core::ActionKind>>,
    /// For a policy: whether it may change actions.
    #[serde(default)]
    pub(crate) mutates: bool,
}

/// Reads a settings file; one that is not there says nothing.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<SettingsFile> {
    let text = match std::fs::metadata(path) {
        Ok(file) if file.len() > FILE_MAX => {
            return Err(Failure::usage(format!("`{}` is larger than 1 MiB", path.display())));
        }
        Ok(_) => std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", path.display())))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SettingsFile::default()),
        Err(error) => return Err(Failure::usage(format!("cannot read `{}`: {error}", path.display()))),
    };
    let mut file: SettingsFile = parse(&text, &path.display().to_string()).map_err(Failure::usage)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    for plugin in &mut file.plugin {
        plugin.path = plugin.path.take().map(|path| folder.join(path));
    }
    if file.environments.contains_key(NONE) {
        return Err(Failure::usage(format!(
            "{}: environments.{NONE}: nobody can name this one, as `{NONE}` stands for what manifests suggest",
            path.display()
        )));
    }
    for environment in file.environments.values_mut() {
        environment.place_in(folder);
    }
    Ok(file)
}

/// Parses settings; an unknown key is an error that names the nearest known one.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let message = error.message();
        let said = nearest_key(message).unwrap_or_else(|| in_words(message));
        let key = error.span().and_then(|span| key_at(text, span.start)).filter(|_| is_of_a_value(message));
        format!("{name}:{line}: {}{said}", key.map(|key| format!("`{key}`: ")).unwrap_or_default())
    })
}

/// A repository's settings have a table there.
fn name_of_environment<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    match toml::Value::deserialize(value)? {
        toml::Value::String(name) => Ok(Some(name)),
        _ => Err(D::Error::custom(
            "`environment` is the name of one; `[environments.NAME]` says what it is, and `[environment]` is for a \
             repository's .sortie/config.toml",
        )),
    }
}

/// Whether serde found fault with a value, and not with a key.
fn is_of_a_value(message: &str) -> bool {
    message.starts_with("invalid ")
}

/// The key on the line of a value that is wrong.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text.get(start..at)?.split_once('=')?;
    let key = key.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!key.is_empty() && key.chars().all(is_plain)).then_some(key)
}

/// What serde expects, without the names of Rust's types.
fn in_words(message: &str) -> String {
    let Some((before, kind)) = message.rsplit_once("expected ") else { return message.to_owned() };
    let words = match kind {
        "u16" | "u32" | "u64" => "a whole number from 0 on",
        "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        other => other,
    };
    format!("{before}expected {words}")
}

/// Reads serde's "unknown field `a`, expected one of `b`, `c`".
fn nearest_key(message: &str) -> Option<String> {
    let (unknown, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let nearest = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|key| (strsim::damerau_levenshtein(unknown, key), key))
        .filter(|(distance, key)| *distance <= key.len().max(unknown.len()) / 2)
        .min()?;
    Some(format!("unknown key `{unknown}`; hint: did you mean `{}`?", nearest.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_its_line_and_the_nearest_known_key() {
        let error = parse::<SettingsFile>("model = \"a/b\"\n[network]\nagnet = \"all\"\n", "config.toml")
            .expect_err("unknown key");
        assert_eq!(error, "config.toml:3: unknown key `agnet`; hint: did you mean `agent`?");
    }

    #[test]
    fn a_key_like_no_other_lists_what_there_is() {
        let error = parse::<SettingsFile>("zzzzzzzzzzzz = 1", "c").expect_err("unknown key");
        assert!(error.contains("expected one of") && error.contains("`model`"), "{error}");
    }

    #[test]
    fn an_environment_is_named_in_one_place_and_described_in_another() {
        let error = parse::<SettingsFile>("[environment]\nsetup = [\"make\"]\n", "c").expect_err("a table");
        assert!(
            error.starts_with("c:1: ") && error.contains("`[environments.NAME]` says what it is"),
            "{error}"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        for (name, is_taken) in [("ci", true), ("none", false)] {
            std::fs::write(&path, format!("environment = \"ci\"\n[environments.{name}]\n"))
                .expect("is written");
            assert_eq!(read_file(&path).is_ok(), is_taken, "{name}");
        }
    }

    #[test]
    fn a_value_that_is_none_is_one_line_with_its_key_and_what_is_expected() {
        let error = |text: &str| parse::<SettingsFile>(text, "c").expect_err("a wrong value");
        for (key, value, expected) in [
            ("keep_days", "-1", "invalid value: integer `-1`, expected a whole number from 0 on"),
            ("max_mb", "\"20 GB\"", "invalid type: string \"20 GB\", expected a whole number from 0 on"),
            ("max_mb", "1.5", "invalid type: floating point `1.5`, expected a whole number from 0 on"),
            ("enabled", "\"off\"", "invalid type: string \"off\", expected `true` or `false`"),
        ] {
            let said = error(&format!("[mirrors]\n{key} = {value}\n"));
            assert_eq!(said, format!("c:2: `{key}`: {expected}"));
        }
        assert_eq!(
            error("[mirrors]\nmax_gb = 1\n"),
            "c:2: unknown key `max_gb`; hint: did you mean `max_mb`?"
        );
    }
}
