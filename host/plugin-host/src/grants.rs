//! What the operator lets a plugin ask for. Nothing is granted by default.
//!
//! ```
//! # use sortie_plugin_host::Grants;
//! let grants: Grants = toml::from_str(r#"
//!     exec = ["sh *", "cargo test *"]
//!     files = { read = ["**"], write = ["src/**"] }
//!     git = { read = true }
//!     http = ["https://*.example.org", "GET,HEAD http://localhost:8080"]
//! "#)?;
//! assert!(!grants.git().commit);
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! A grant bounds what a plugin may ask for. Whether it then may happen is up
//! to the task's policies.

mod argv;
mod http;
mod paths;
mod wanted;

use std::fmt;

use serde::Deserialize;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use argv::ArgvPattern;
use http::HttpPattern;
use paths::PathPatterns;

pub(crate) use paths::normal;
pub(crate) use wanted::Wanted;

/// What a plugin may ask for; `grants` of its `[[plugin]]`.
///
/// - `exec`: commands, one pattern each. Its words stand for the arguments, in
///   order; `*` in a word stands for any text within that argument, `\` takes
///   the special meaning of what follows; a last word `*` stands for any
///   number of arguments, none included. The program must be written as the
///   pattern has it: `sh *` does not cover `/bin/sh`. It bounds what is started,
///   and neither its variables (`PATH` is one of them) and its directory nor
///   what it does: the workspace contains it.
/// - `files`: globs of paths relative to the root of the work tree, under
///   `read` and `write`. `**` stands for any number of folders, `*` for a part
///   of one name. Neither includes the other.
/// - `git`: `true`, or `read` and `commit` each.
/// - `http`: `SCHEME://HOST[:PORT]`, before it the methods that are allowed if
///   not all are. `*.` before a host stands for its subdomains, a host `*` for
///   every host, a port `*` for every port; without a port it is the scheme's own.
/// - `secrets` (names) and `kv`: understood, but not offered by this host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Settings")]
pub struct Grants {
    exec: Vec<ArgvPattern>,
    read: PathPatterns,
    write: PathPatterns,
    git: GitGrant,
    http: Vec<HttpPattern>,
    settings: Settings,
}

/// What of the task's change a plugin may read and do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitGrant {
    /// Status, diff, log and single commits.
    pub read: bool,
    /// Commits to the task's branch.
    pub commit: bool,
}

/// A grant that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no grant of {kind}: {reason}")]
pub struct GrantError {
    kind: &'static str,
    pattern: String,
    reason: String,
}

impl GrantError {
    fn new(kind: &'static str, pattern: &str, reason: impl Into<String>) -> Self {
        Self { kind, pattern: one_line(pattern, 200), reason: reason.into() }
    }
}

/// The grants as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    exec: Vec<String>,
    files: FilesSettings,
    git: GitSettings,
    http: Vec<String>,
    secrets: Vec<String>,
    kv: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilesSettings {
    read: Vec<String>,
    write: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "`true`, `false`, or `read` and `commit` with one of these each")]
enum GitSettings {
    All(bool),
    Each(GitGrant),
}

impl Default for GitSettings {
    fn default() -> Self {
        Self::All(false)
    }
}

impl TryFrom<Settings> for Grants {
    type Error = GrantError;

    fn try_from(settings: Settings) -> Result<Self, GrantError> {
        let git = match settings.git {
            GitSettings::All(all) => GitGrant { read: all, commit: all },
            GitSettings::Each(grant) => grant,
        };
        Ok(Self {
            exec: settings.exec.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            read: PathPatterns::new("files.read", &settings.files.read)?,
            write: PathPatterns::new("files.write", &settings.files.write)?,
            git,
            http: settings.http.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            settings,
        })
    }
}

impl Grants {
    /// What of the task's change it covers.
    pub fn git(&self) -> GitGrant {
        self.git
    }

    /// Whether some command is covered.
    pub fn any_exec(&self) -> bool {
        !self.exec.is_empty()
    }

    /// Whether some path is covered, for reading or writing.
    pub fn any_files(&self) -> bool {
        !self.read.is_empty() || !self.write.is_empty()
    }

    /// Whether some part of the task's change is covered.
    pub fn any_git(&self) -> bool {
        self.git.read || self.git.commit
    }

    /// Whether some host is covered.
    pub fn any_http(&self) -> bool {
        !self.http.is_empty()
    }

    /// Whether it covers this command.
    pub fn covers_exec(&self, argv: &[String]) -> bool {
        self.exec.iter().any(|pattern| pattern.matches(argv))
    }

    /// Whether it covers reading this path.
    pub fn covers_read(&self, path: &str) -> bool {
        self.read.cover(path)
    }

    /// Whether it covers writing this path.
    pub fn covers_write(&self, path: &str) -> bool {
        self.write.cover(path)
    }

    /// Whether it covers a request with this method to this URL.
    pub fn covers_http(&self, method: &str, url: &url::Url) -> bool {
        self.http.iter().any(|pattern| pattern.matches(method, url))
    }

    /// Denies what they do not cover, with the line of settings that would.
    pub(crate) fn check(&self, plugin: &str, wanted: Wanted<'_>) -> Result<(), PortError> {
        let covered = match wanted {
            Wanted::Exec(argv) => self.covers_exec(argv),
            Wanted::Read(path) => self.covers_read(path),
            Wanted::Write(path) => self.covers_write(path),
            Wanted::GitRead(_) => self.git.read,
            Wanted::GitCommit => self.git.commit,
            Wanted::Http { method, url } => self.covers_http(method, url),
        };
        if covered {
            return Ok(());
        }
        let what = one_line(&wanted.to_string(), 300);
        let hint = self.with(wanted).map(|line| format!("; under its [[plugin]], `{line}` would allow it"));
        let message =
            format!("{what}: not covered by the grants of plugin `{plugin}`{}", hint.unwrap_or_default());
        Err(PortError { code: ErrorCode::Denied, message, rule: Some(format!("grant/{}", wanted.key())) })
    }

    /// These grants with the narrowest that covers this added, as a line of
    /// settings. None where only something far wider could be written.
    fn with(&self, wanted: Wanted<'_>) -> Option<String> {
        let mut settings = self.settings.clone();
        match wanted {
            Wanted::Exec(argv) => settings.exec.push(argv::pattern_for(argv)?),
            Wanted::Read(path) => settings.files.read.push(paths::glob_for(path)),
            Wanted::Write(path) => settings.files.write.push(paths::glob_for(path)),
            Wanted::GitRead(_) => settings.git = GitSettings::Each(GitGrant { read: true, ..self.git }),
            Wanted::GitCommit => settings.git = GitSettings::Each(GitGrant { commit: true, ..self.git }),
            Wanted::Http { method, url } => settings.http.push(http::pattern_for(method, url)),
        }
        Some(format!("grants = {settings}"))
    }

    /// These grants with an example of each missing one added, as a line of settings.
    pub(crate) fn suggestion(&self, exec: bool, files: bool, git: bool, http: bool) -> String {
        let mut settings = self.settings.clone();
        if exec {
            settings.exec.push("sh *".into());
        }
        if files {
            settings.files = FilesSettings { read: vec!["**".into()], write: vec!["**".into()] };
        }
        if git {
            settings.git = GitSettings::All(true);
        }
        if http {
            settings.http.push("https://*".into());
        }
        format!("grants = {settings}")
    }
}

/// As one would write it in the settings.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String]| {
            let quoted: Vec<_> =
                items.iter().map(|item| serde_json::Value::from(item.as_str()).to_string()).collect();
            format!("[{}]", quoted.join(", "))
        };
        let mut parts = Vec::new();
        if !self.exec.is_empty() {
            parts.push(format!("exec = {}", list(&self.exec)));
        }
        let mut files = Vec::new();
        for (name, globs) in [("read", &self.files.read), ("write", &self.files.write)] {
            if !globs.is_empty() {
                files.push(format!("{name} = {}", list(globs)));
            }
        }
        if !files.is_empty() {
            parts.push(format!("files = {{ {} }}", files.join(", ")));
        }
        match self.git {
            GitSettings::All(true) => parts.push("git = true".into()),
            GitSettings::Each(GitGrant { read, commit }) if read || commit => {
                parts.push(format!("git = {{ read = {read}, commit = {commit} }}"));
            }
            GitSettings::All(false) | GitSettings::Each(_) => {}
        }
        if !self.http.is_empty() {
            parts.push(format!("http = {}", list(&self.http)));
        }
        if !self.secrets.is_empty() {
            parts.push(format!("secrets = {}", list(&self.secrets)));
        }
        if self.kv {
            parts.push("kv = true".into());
        }
        write!(f, "{{ {} }}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(line: &str) -> Grants {
        #[derive(Deserialize)]
        struct Plugin {
            grants: Grants,
        }
        toml::from_str::<Plugin>(line).unwrap_or_else(|error| panic!("{line}: {error}")).grants
    }

    #[test]
    fn what_is_denied_names_a_line_that_covers_it_beside_what_was_covered() {
        let had: Grants = toml::from_str("exec = [\"git log *\"]\ngit = { read = true }").expect("grants");
        let url = "https://a.example:8443/x?y".parse().expect("a URL");
        let argvs = [
            vec!["cargo", "test"],
            vec!["sh", "-c", "echo 'a  b' * \\ $HOME"],
            vec!["printf", " ", "", "\u{1b}[31m\n"],
            vec!["*"],
        ];
        let long = vec!["x".repeat(100), "y".repeat(300)];
        let argvs: Vec<Vec<String>> = argvs
            .into_iter()
            .map(|argv| argv.into_iter().map(str::to_owned).collect())
            .chain([long])
            .collect();
        let mut wanted = vec![
            Wanted::Read("src/[a]{b,c}*?\\d!.rs"),
            Wanted::Write("a b/\"c\".rs"),
            Wanted::GitCommit,
            Wanted::Http { method: "POST", url: &url },
        ];
        wanted.extend(argvs.iter().map(|argv| Wanted::Exec(argv)));
        for wanted in wanted {
            let denied = had.check("p", wanted).expect_err("not covered");
            assert_eq!(
                (denied.code, denied.rule),
                (ErrorCode::Denied, Some(format!("grant/{}", wanted.key())))
            );
            let line = denied.message.split('`').find(|part| part.starts_with("grants = ")).expect("a line");
            let grants = read_back(line);
            assert_eq!(grants.check("p", wanted).map_err(|error| error.message), Ok(()), "{line}");
            assert!(grants.covers_exec(&["git".into(), "log".into()]) && grants.git().read, "{line}");
        }
        assert!(had.check("p", Wanted::GitRead("git status")).is_ok());
        // whoever asks does not get everything put forward by what it asks for
        for program in ["", " ", "a\nb", &"x".repeat(300)] {
            let argv = [program.to_owned()];
            let denied = had.check("p", Wanted::Exec(&argv)).expect_err("not covered");
            assert!(!denied.message.contains("grants = "), "{denied}");
        }
        let argv = ["cargo".to_owned(), "test".to_owned()];
        assert_eq!(
            had.check("p", Wanted::Exec(&argv)).expect_err("not covered").message,
            "exec cargo test: not covered by the grants of plugin `p`; under its [[plugin]], \
             `grants = { exec = [\"git log *\", \"cargo test\"], git = { read = true, commit = false } }` would allow it"
        );
    }

    #[test]
    fn nothing_is_covered_by_default() {
        let grants = Grants::default();
        assert!(!grants.covers_exec(&["sh".into()]));
        assert!(!grants.covers_read("a"));
        assert!(!grants.covers_write("a"));
        assert!(!grants.covers_http("GET", &"https://a.example".parse().expect("a URL")));
        assert_eq!(grants.git(), GitGrant::default());
    }

    #[test]
    fn an_unknown_key_and_a_bad_pattern_are_errors() {
        assert!(toml::from_str::<Grants>("exce = []").is_err());
        assert!(toml::from_str::<Grants>("git = { push = true }").is_err());
        for bad in
            ["exec = [\"\"]", "files = { read = [\"/etc\"] }", "files = { read = [\"[\"] }", "http = [\"x\"]"]
        {
            assert!(toml::from_str::<Grants>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_suggested_line_reads_back_and_grants_what_it_should() {
        let had: Grants = toml::from_str("exec = [\"git log *\"]\ngit = { read = true }").expect("grants");
        let line = had.suggestion(false, true, false, true);
        assert_eq!(
            line,
            r#"grants = { exec = ["git log *"], files = { read = ["**"], write = ["**"] }, git = { read = true, commit = false }, http = ["https://*"] }"#
        );
        let grants = read_back(&line);
        assert!(grants.any_exec() && grants.any_files() && grants.any_http() && !grants.git().commit);
    }
}
