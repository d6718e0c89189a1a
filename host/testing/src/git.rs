//! Git, for repositories that tests make.

use std::path::Path;
use std::process::Command;

/// `git` in this folder, without anybody's own settings.
pub fn git(folder: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "for tests")]
    let mut command = Command::new("git");
    // of the repository from whose hook this may be called, and to whose own it would lead
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(folder);
    command
}
