//! What a set-up depends on.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;
use sortie_core::digest::Digest;
use sortie_policy::ports::Identity;
use sortie_workspace::snapshot::Listing;

use super::joined;
use crate::environment::Decided;
use crate::run::{RunError, TaskRun, port};

/// The form of keys; another one where snapshots are made or restored in
/// another way.
const FORM: u32 = 1;

/// Manifests and lock files of package managers, wherever they lie: what is
/// installed follows from them.
const MANIFESTS: [&str; 42] = [
    ".node-version",
    ".npmrc",
    ".nvmrc",
    ".pnpmfile.cjs",
    ".python-version",
    ".ruby-version",
    ".tool-versions",
    ".yarnrc",
    ".yarnrc.yml",
    "Cargo.lock",
    "Cargo.toml",
    "Gemfile",
    "Gemfile.lock",
    "Pipfile",
    "Pipfile.lock",
    "build.gradle",
    "build.gradle.kts",
    "bun.lock",
    "bun.lockb",
    "bunfig.toml",
    "composer.json",
    "composer.lock",
    "go.mod",
    "go.sum",
    "go.work",
    "gradle-wrapper.properties",
    "gradle.lockfile",
    "gradle.properties",
    "libs.versions.toml",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "poetry.lock",
    "pom.xml",
    "pyproject.toml",
    "rust-toolchain.toml",
    "setup.cfg",
    "setup.py",
    "settings.gradle.kts",
    "uv.lock",
];

/// Others that are told by how they begin or end.
fn is_manifest(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    MANIFESTS.contains(&name)
        || matches!(name, "rust-toolchain" | "settings.gradle" | "yarn.lock")
        || name.ends_with(".gemspec")
        || name.contains("requirements") && name.ends_with(".txt")
        || name.contains("constraints") && name.ends_with(".txt")
}

impl TaskRun {
    /// The same for two tasks on one repository whose set-up would do the
    /// same: of image, commands, variables, of whom these may contact (one that
    /// got on without what a rule refused would go about it another way), and
    /// of the files that they rest on. Those are manifests, lock files, and what
    /// commands name by its path.
    pub(super) async fn key(&self, decided: &Decided, identity: &Identity) -> Result<Digest, RunError> {
        let lines: Vec<_> = decided.setup.iter().map(|command| command.line.as_str()).collect();
        let named = named_paths(&lines);
        let work_tree = self.folder.work_tree();
        let files = tokio::task::spawn_blocking(move || {
            Listing::fingerprint(&work_tree, &|path| {
                path.file_name().is_some_and(is_manifest) || named.iter().any(|named| path.starts_with(named))
            })
        });
        let files = joined(files.await).map_err(port("read what set-up depends on"))?;
        let networks: Vec<_> = decided.setup_networks.iter().map(ToString::to_string).collect();
        let secrets: BTreeSet<_> = self.plan.secrets.iter().map(|(name, _)| name).collect();
        let all = json!({
            "form": FORM,
            "repository": self.plan.repository,
            "backend": self.plan.backend,
            "identity": identity.id,
            "environment": decided.name,
            "commands": lines,
            "root": decided.root,
            "networks": networks,
            "variables": decided.variables,
            "secrets": secrets,
            "files": files.to_string(),
        });
        Ok(Digest::of(all.to_string().as_bytes()))
    }
}

/// Paths in a repository that command lines may name: words that could be one.
fn named_paths(lines: &[&str]) -> BTreeSet<PathBuf> {
    let words =
        lines.iter().flat_map(|line| line.split(|c: char| c.is_whitespace() || "'\"`;&|()<>=,".contains(c)));
    words
        .map(|word| word.strip_prefix("./").unwrap_or(word).trim_end_matches('/'))
        .filter(|word| !word.is_empty() && *word != "." && !word.starts_with(['-', '/']))
        .map(|word| Path::new(word).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_names_by_its_path_is_part_of_its_key() {
        let paths =
            named_paths(&["bash ./scripts/setup.sh --fast && make -C native/ all", "FOO=cfg/a.ini run"]);
        for path in ["scripts/setup.sh", "native", "cfg/a.ini"] {
            assert!(paths.contains(Path::new(path)), "{paths:?}");
        }
        assert!(!paths.contains(Path::new("--fast")) && !paths.contains(Path::new(".")));
    }

    #[test]
    fn manifests_and_lock_files_are_told_from_sources() {
        for name in
            ["Cargo.lock", "yarn.lock", "dev-requirements.txt", "requirements.txt", "a.gemspec", "pom.xml"]
        {
            assert!(is_manifest(OsStr::new(name)), "{name}");
        }
        for name in ["main.rs", "README.md", "test.txt", "index.js"] {
            assert!(!is_manifest(OsStr::new(name)), "{name}");
        }
    }
}
