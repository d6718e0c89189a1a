//! The demo's repository: a shell script with a bug, and tests that show it.

#![expect(clippy::disallowed_methods, reason = "makes the demo's repository; there is no task yet")]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

const FILES: [(&str, &str); 4] = [
    ("slug.sh", include_str!("files/slug.sh")),
    ("test.sh", include_str!("files/test.sh")),
    ("README.md", include_str!("files/README.md")),
    (".sortie/config.toml", include_str!("files/config.toml")),
];

/// Makes a bare origin and a clone of it; returns both.
pub(super) fn make(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (origin, clone) = (folder.join("origin.git"), folder.join("slug"));
    if origin.exists() || clone.exists() {
        bail!("`{}` holds a demo already; name another folder", folder.display());
    }
    let text = |path: &Path| path.display().to_string();
    git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", &text(&origin)])?;
    git(folder, &["init", "--quiet", "--initial-branch=main", &text(&clone)])?;
    for (name, content) in FILES {
        let path = clone.join(name);
        let parent = path.parent().context("a file has a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    git(&clone, &["add", "--all"])?;
    git(&clone, &["commit", "--quiet", "--message", "Turn titles into slugs"])?;
    git(&clone, &["remote", "add", "origin", &text(&origin)])?;
    git(&clone, &["push", "--quiet", "origin", "main"])?;
    Ok((origin, clone))
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "makes the demo's own repository, before there is a task")]
    let mut command = Command::new("git");
    // of the repository from whose hook this may be called, and to whose own it would lead
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    let output = command
        .current_dir(folder)
        .args(["-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "commit.gpgSign=false", "-c", "init.templateDir="])
        .args(arguments)
        .output()
        .context("cannot run git; the demo needs it")?;
    if !output.status.success() {
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
