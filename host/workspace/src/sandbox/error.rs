//! Why a sandbox did not start, and what would help.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A folder of the workspace is not there or not one.
    #[error("`{}` cannot be a folder of the workspace: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder of the workspace belongs to somebody else, so commands could not write to it, or could but
    /// should not.
    #[error("`{}` belongs to user {found}, but commands run as user {wanted}", path.display())]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Whom it belongs to.
        found: u32,
        /// Whom it should.
        wanted: u32,
    },
    /// A limit was asked for that this machine cannot keep.
    #[error(
        "this machine cannot limit {}: {reason}; to do without, `accept = [\"{}\"]` below `[workspace]` in the \
         settings, or for one run `--accept {}`", limit.limit(), limit.name(), limit.name()
    )]
    Unenforceable {
        /// The limit.
        limit: super::Reduced,
        /// Why not.
        reason: String,
    },
    /// The kernel refused a step.
    #[error("the sandbox cannot {step}: {source}{}", hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    Step {
        /// The step.
        step: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The helper ended without saying why.
    #[error("the sandbox's helper ended early: {}", last_words(.0))]
    Helper(String),
    /// Pipes, sockets or processes could not be made, or the helper could not be started.
    #[error("cannot start the sandbox's helper: {0}")]
    Io(#[from] io::Error),
}

/// One that has no room to begin in ends without a word.
fn last_words(said: &str) -> &str {
    match said.trim() {
        "" => "it said nothing\nhint: `memory_mb` or `processes` may be too low",
        said => said,
    }
}

/// A step of the helper's that failed; it travels to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    /// What it tried, as the rest of "the sandbox cannot".
    pub(super) step: String,
    /// The kernel's error number; 0 if it was not the kernel.
    pub(super) errno: i32,
}

impl Failure {
    pub(super) fn into_error(self) -> SandboxError {
        let hint = hint(&self.step, self.errno, |path| std::fs::read_to_string(path).ok());
        let source = match self.errno {
            0 => io::Error::other("unexpected"),
            errno => io::Error::from_raw_os_error(errno),
        };
        SandboxError::Step { step: self.step, source, hint }
    }
}

/// Names the step that a result belongs to.
pub(super) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure { step: step.to_owned(), errno: error.raw_os_error().unwrap_or(0) })
    }
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step: step.to_owned(), errno: errno.raw_os_error() })
    }
}

/// The step that makes the namespaces; hints depend on it.
pub(super) const UNSHARE: &str = "make its namespaces";
/// The first step that needs a capability within them.
pub(super) const PRIVATE: &str = "make its mounts private";
/// The step that makes process 1; limits hold by then.
pub(super) const FORK: &str = "fork";
/// The step that mounts `/proc`.
pub(super) const PROC: &str = "mount a /proc of its own";

/// What to do about a failure, as far as the machine's settings (read with `setting`) tell.
fn hint(step: &str, errno: i32, setting: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is = |path: &str, value: &str| setting(path).is_some_and(|text| text.trim() == value);
    if step == PROC {
        return Some(
            "this looks like a container that hides parts of /proc; run it with an unmasked /proc \
             (Docker: `--security-opt systempaths=unconfined`) or run Sortie outside of the container"
                .to_owned(),
        );
    }
    if step == FORK && errno == libc::EAGAIN {
        return Some(
            "`processes`, of the settings or the environment, may be too low, or this user have too many of them"
                .to_owned(),
        );
    }
    if step != UNSHARE && step != PRIVATE {
        return None;
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some(
            "user namespaces are switched off: `sudo sysctl user.max_user_namespaces=15000`".to_owned(),
        );
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(
            "user namespaces are for root alone here: `sudo sysctl kernel.unprivileged_userns_clone=1`"
                .to_owned(),
        );
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some(
            "AppArmor keeps user namespaces from programs without a profile: give `sortie` one with the line \
             `userns,` in /etc/apparmor.d, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
                .to_owned(),
        );
    }
    (errno == libc::EPERM).then(|| {
        "this looks like a container that forbids user namespaces; allow them in its seccomp profile \
         (Docker: `--security-opt seccomp=unconfined`) or run Sortie outside of the container"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_with(step: &str, path: &str, value: &str) -> String {
        let setting = |asked: &str| (asked == path).then(|| format!("{value}\n"));
        hint(step, libc::EPERM, setting).unwrap_or_default()
    }

    #[test]
    fn the_setting_that_is_in_the_way_is_named() {
        for (path, word) in [
            ("/proc/sys/user/max_user_namespaces", "max_user_namespaces=15000"),
            ("/proc/sys/kernel/unprivileged_userns_clone", "unprivileged_userns_clone=1"),
        ] {
            assert!(hint_with(UNSHARE, path, "0").contains(word), "{path}");
        }
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert!(hint_with(PRIVATE, apparmor, "1").contains("userns,"));
    }

    #[test]
    fn without_such_a_setting_a_container_is_suspected() {
        assert!(hint_with(UNSHARE, "", "").contains("container"));
        assert!(hint_with(PROC, "", "").contains("systempaths"));
    }

    #[test]
    fn other_steps_get_no_hint() {
        assert_eq!(hint("raise the loopback interface", libc::EPERM, |_| None), None);
    }
}
