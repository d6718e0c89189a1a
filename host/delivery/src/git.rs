//! The `git` command: the network side, and nothing else.
//!
//! It runs in the host's own bare repository with argument arrays. The user's
//! global config holds (credential helpers, ssh, proxies), the hostile side
//! adds nothing: no hooks on either end, no transports that run programs, no
//! prompts, and no path from a repository's content to a command line.

mod failure;

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

pub(crate) use failure::{Verb, failure};

use crate::source::Address;

/// Bytes of the largest file that Git may write: a remote can send a pack
/// without end.
const LARGEST_FILE: u64 = 32 << 30;

/// Bytes of output kept; a listing is asked for by name and stays far below.
const KEPT: usize = 4 << 20;

/// Settings that hold for every call, above every config file.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=true",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    // a pack can be copied as it is; loose objects could not
    "fetch.unpackLimit=1",
    "submodule.recurse=false",
    "push.followTags=false",
    "push.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    // a permit is for one place: the user's credentials for another would be the remote's to spend
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    // old histories have these; they are about dates and names, not about files
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    "fetch.fsck.missingNameBeforeEmail=ignore",
    "fetch.fsck.missingEmail=ignore",
    "fetch.fsck.badName=ignore",
    "fetch.fsck.badEmail=ignore",
    "fetch.fsck.badDate=ignore",
    "fetch.fsck.zeroPaddedDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.multipleAuthors=ignore",
];

/// The other end of a local transport is a process of ours in that repository,
/// whose config is read there: the same holds for it.
const UPLOAD_PACK: &str = "git -c core.hooksPath=/dev/null -c core.fsmonitor=false \
     -c core.alternateRefsCommand=true -c uploadpack.allowAnySHA1InWant=true upload-pack --strict";
const RECEIVE_PACK: &str = "git -c core.hooksPath=/dev/null -c core.fsmonitor=false \
     -c core.alternateRefsCommand=true -c receive.fsckObjects=true -c receive.denyCurrentBranch=refuse \
     -c receive.autogc=false -c gc.auto=0 -c maintenance.auto=false receive-pack";

/// Answers `get` alone. The values stand in the environment, where only this
/// user can read them; arguments are for everybody to see.
const CREDENTIAL_HELPER: &str = "!f() { test \"$1\" = get && \
     printf 'username=%s\\npassword=%s\\n' \"$SORTIE_GIT_USER\" \"$SORTIE_GIT_PASSWORD\"; }; f";

/// Variables of the caller's that would point Git elsewhere.
const REMOVED: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CONFIG",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_QUARANTINE_PATH",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_TEMPLATE_DIR",
    "GIT_TRACE",
    "GIT_TRACE_CURL",
    "GIT_TRACE_PACKET",
    "GIT_CURL_VERBOSE",
    "GIT_PROTOCOL",
    "GIT_PROXY_COMMAND",
    "LANGUAGE",
];

/// Runs `git` in one bare repository.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    pub(crate) directory: PathBuf,
    /// Variables added for every call.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) cancel: CancellationToken,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Git {
    /// Runs `git <verb> <options> -- <address> <names>` and waits for it, at
    /// most `limit`. Dropping the future ends Git and what it started.
    pub(crate) async fn run(
        &self,
        verb: Verb,
        options: &[&str],
        address: &Address,
        names: &[String],
        limit: Duration,
    ) -> Result<Finished, PortError> {
        let mut command = self.command(verb, address);
        command.args(options).arg("--").arg(address.argument()).args(names);
        let finished = self.finish(command, verb.name(), &address.masked(), limit).await?;
        Ok(finished.without(verb, address))
    }

    /// Puts small packs together into larger ones, of objects that are here
    /// already. What is not referred to stays.
    ///
    /// # Errors
    /// If Git cannot, or not within `limit`.
    pub(crate) async fn repack(&self, limit: Duration) -> Result<(), PortError> {
        let mut command = self.bare();
        command.env("GIT_ALLOW_PROTOCOL", "").args(["repack", "-d", "--geometric=2", "--quiet"]);
        let place = self.directory.display().to_string();
        let finished = self.finish(command, "repack", &place, limit).await?;
        if finished.status.success() {
            return Ok(());
        }
        Err(PortError::internal(format!(
            "{place} cannot be packed anew: {}",
            one_line(&finished.stderr, 300)
        )))
    }

    /// Waits for a command, at most `limit`.
    async fn finish(
        &self,
        mut command: Command,
        name: &str,
        place: &str,
        limit: Duration,
    ) -> Result<Finished, PortError> {
        let mut group = Group(command.spawn().map_err(|error| {
            PortError::new(ErrorCode::Unavailable, format!("the `git` command does not start: {error}"))
        })?);
        let stdout = group.0.stdout.take().expect("standard output is a pipe");
        let stderr = group.0.stderr.take().expect("standard error is a pipe");
        let finished = async {
            let (mut said, mut errors) = (Vec::new(), Vec::new());
            let status = {
                let mut reading = pin!(read_bounded(stderr, KEPT, &mut errors));
                let mut ending = pin!(async {
                    read_bounded(stdout, KEPT, &mut said).await;
                    group.0.wait().await
                });
                tokio::select! {
                    status = &mut ending => {
                        // a connection that ssh keeps open for later holds standard error, too: what came is enough
                        let _ = tokio::time::timeout(Duration::from_millis(500), reading).await;
                        status
                    }
                    () = &mut reading => ending.await,
                }
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let status = status.map_err(PortError::internal)?;
            Ok(Finished { status, stdout: text(&said), stderr: text(&errors) })
        };
        let ended = tokio::select! {
            finished = finished => return finished,
            () = self.cancel.cancelled() => PortError::new(ErrorCode::Cancelled, format!("`git {name}` was cancelled")),
            () = tokio::time::sleep(limit) => PortError::new(
                ErrorCode::Timeout,
                format!("`git {name}` did not end within {} seconds: {place}", limit.as_secs()),
            ),
        };
        group.end().await;
        Err(ended)
    }

    fn command(&self, verb: Verb, address: &Address) -> Command {
        let mut command = self.bare();
        configure(&mut command, verb, address);
        command
    }

    /// What holds for every call.
    fn bare(&self) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the network side of delivery is git's, for permits")]
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.directory).current_dir(&self.directory);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for name in REMOVED {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GCM_INTERACTIVE", "never")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        confine(&mut command);
        command
    }
}

impl Finished {
    /// Takes credentials out of what Git and the remote said. A listing is
    /// only compared with names that were asked for, and stays as it is: a
    /// branch may be named like the user.
    fn without(mut self, verb: Verb, address: &Address) -> Self {
        if let Address::Https { credentials: Some(credentials), .. } = address {
            for secret in [&credentials.password, &credentials.user] {
                self.stderr = secret.scrub(&self.stderr);
                if verb != Verb::List {
                    self.stdout = secret.scrub(&self.stdout);
                }
            }
        }
        self
    }
}

/// What depends on the address: transports, credentials, and the verb itself
/// with the programs of the other end.
fn configure(command: &mut Command, verb: Verb, address: &Address) {
    match address {
        Address::Https { url, credentials } => {
            // ssh, because many have `insteadOf` rewrite the one to the other
            command.env("GIT_ALLOW_PROTOCOL", "https:ssh");
            if let Some(credentials) = credentials {
                // the empty one forgets the helpers before it: what the URL says holds
                for helper in ["", CREDENTIAL_HELPER] {
                    command.arg("-c").arg(format!("credential.{}.helper={helper}", origin(url)));
                }
                command.env("SORTIE_GIT_USER", credentials.user.expose());
                command.env("SORTIE_GIT_PASSWORD", credentials.password.expose());
            }
            command.arg(verb.name());
        }
        Address::Ssh(_) => {
            command.env("GIT_ALLOW_PROTOCOL", "ssh:https").arg(verb.name());
        }
        Address::Local(_) => {
            command.env("GIT_ALLOW_PROTOCOL", "file").arg(verb.name());
            command.arg(match verb {
                Verb::Push => format!("--receive-pack={RECEIVE_PACK}"),
                Verb::List | Verb::Fetch => format!("--upload-pack={UPLOAD_PACK}"),
            });
        }
    }
}

/// Scheme, host and port: credentials go to no other.
fn origin(url: &str) -> &str {
    url.match_indices('/').nth(2).map_or(url, |(end, _)| &url[..end])
}

/// A session of its own: no terminal on which ssh could ask and wait, and a
/// group that can be ended as a whole. And no file beyond [`LARGEST_FILE`].
fn confine(command: &mut Command) {
    let confine = || {
        use rustix::process::{Resource, getrlimit, setrlimit, setsid};
        setsid()?;
        let mut limit = getrlimit(Resource::Fsize);
        limit.current = Some(limit.current.map_or(LARGEST_FILE, |current| current.min(LARGEST_FILE)));
        Ok(setrlimit(Resource::Fsize, limit)?)
    };
    #[expect(unsafe_code, reason = "session and limit can only be set between fork and exec")]
    // SAFETY: the closure makes system calls alone, which are async-signal-safe, and touches no memory of ours.
    unsafe {
        command.pre_exec(confine);
    }
}

/// A child and its process group, killed when dropped before its end.
struct Group(Child);

impl Group {
    /// Asks it to end, so that it removes its lock files, then kills it.
    async fn end(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        if tokio::time::timeout(Duration::from_secs(2), self.0.wait()).await.is_err() {
            self.signal(rustix::process::Signal::KILL);
            let _ = self.0.wait().await;
        }
    }

    /// The id is none once the child was waited for, so no other's group is meant.
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

/// Reads to the end and keeps the first `max` bytes: an error's cause comes first.
async fn read_bounded(mut from: impl AsyncRead + Unpin, max: usize, kept: &mut Vec<u8>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = max - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use sortie_core::Secret;

    use super::*;
    use crate::source::Credentials;

    fn line(command: &Command) -> Vec<&OsStr> {
        command.as_std().get_args().collect()
    }

    fn git() -> Git {
        Git { directory: "/nowhere".into(), environment: Vec::new(), cancel: CancellationToken::new() }
    }

    #[test]
    fn a_token_is_in_no_argument() {
        let credentials = Some(Credentials { user: Secret::new("me"), password: Secret::new("token-5") });
        let address = Address::Https { url: "https://host/a.git".into(), credentials };
        let command = git().command(Verb::Fetch, &address);
        assert!(!line(&command).iter().any(|argument| argument.to_string_lossy().contains("token-5")));
        let password = command.as_std().get_envs().find(|(name, _)| *name == "SORTIE_GIT_PASSWORD");
        assert_eq!(password.and_then(|(_, value)| value), Some(OsStr::new("token-5")));
    }

    /// Asks Git itself for the credentials of a host, as a fetch would.
    fn filled(host: &str) -> String {
        use std::io::Write;
        let credentials = Some(Credentials { user: Secret::new("me"), password: Secret::new("a'b $c=%d") });
        let address = Address::Https { url: "https://host.example:8443/a.git".into(), credentials };
        let prepared = git().command(Verb::Fetch, &address);
        let arguments = line(&prepared);
        let before = &arguments[..arguments.len() - 1];
        let mut command = std::process::Command::new("git");
        // without the repository, which is nowhere
        command.args(&before[2..]).args(["credential", "fill"]);
        for (name, value) in prepared.as_std().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ASKPASS", "true");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
        let question = format!("protocol=https\nhost={host}\n\n");
        child.stdin.take().expect("is a pipe").write_all(question.as_bytes()).expect("is written");
        String::from_utf8(child.wait_with_output().expect("git ends").stdout).expect("is text")
    }

    #[test]
    fn the_credentials_of_a_url_reach_its_host_and_no_other() {
        let answer = filled("host.example:8443");
        assert!(answer.contains("username=me\n") && answer.contains("password=a'b $c=%d\n"), "{answer}");
        for other in ["host.example", "other.example:8443", "host.example:8443.evil.example"] {
            assert!(!filled(other).contains("a'b"), "{other}");
        }
    }

    #[test]
    fn a_branch_named_like_the_user_of_a_url_is_still_found() {
        use std::os::unix::process::ExitStatusExt;
        let credentials = Some(Credentials { user: Secret::new("deploy"), password: Secret::new("pa55") });
        let address = Address::Https { url: "https://host/a".into(), credentials };
        let said = |verb| {
            let (stdout, stderr) = ("1f\trefs/heads/deploy\n".into(), "bad pa55 of deploy".into());
            Finished { status: ExitStatus::from_raw(0), stdout, stderr }.without(verb, &address)
        };
        assert_eq!(said(Verb::List).stdout, "1f\trefs/heads/deploy\n");
        for verb in [Verb::List, Verb::Fetch, Verb::Push] {
            assert_eq!(said(verb).stderr, "bad **** of ****");
        }
        assert!(!said(Verb::Push).stdout.contains("deploy"));
    }

    #[test]
    fn variables_that_point_git_elsewhere_are_not_handed_on() {
        let command = git().command(Verb::Fetch, &Address::Local("/a".into()));
        let removed: Vec<_> = command.as_std().get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_TRACE_CURL"]
        {
            assert!(removed.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn each_address_has_its_own_transports_only() {
        let allowed = |address: &Address| {
            let command = git().command(Verb::Fetch, address);
            let found = command.as_std().get_envs().find(|(name, _)| *name == "GIT_ALLOW_PROTOCOL");
            found.and_then(|(_, value)| value).expect("is set").to_owned()
        };
        assert_eq!(allowed(&Address::Local("/a".into())), "file");
        assert_eq!(allowed(&Address::Ssh("git@host:a".into())), "ssh:https");
        assert_eq!(allowed(&Address::Https { url: "https://host/a".into(), credentials: None }), "https:ssh");
    }

    #[test]
    fn hooks_are_off_on_both_ends_of_a_local_push() {
        let command = git().command(Verb::Push, &Address::Local("/a".into()));
        let arguments = line(&command);
        assert!(arguments.contains(&OsStr::new("core.hooksPath=/dev/null")));
        let other_end = arguments.iter().find(|a| a.to_string_lossy().starts_with("--receive-pack="));
        assert!(other_end.expect("is given").to_string_lossy().contains("core.hooksPath=/dev/null"));
    }
}
