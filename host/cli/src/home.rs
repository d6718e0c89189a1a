//! Where Sortie keeps its state and finds its settings.

#![expect(clippy::disallowed_methods, reason = "makes the host's state folder")]

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::Failure;

/// The places, resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// State: journal, tasks, caches. Mode 0700.
    pub(crate) home: PathBuf,
    /// The user's settings; need not exist.
    pub(crate) user_settings: PathBuf,
    /// The organisation's settings; need not exist.
    pub(crate) organisation_settings: PathBuf,
    /// Compiled components.
    pub(crate) component_cache: PathBuf,
}

impl Places {
    /// From `SORTIE_HOME`, `SORTIE_CONFIG`, `SORTIE_ORG_CONFIG`,
    /// `SORTIE_CACHE`, `XDG_STATE_HOME`, `XDG_CONFIG_HOME` and `HOME`. Makes the state folder.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        // one that is empty is as good as unset, as everywhere
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let absolute = |name: &str| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let in_home = |rest: &str| -> anyhow::Result<PathBuf> {
            let home = absolute("HOME").ok_or_else(|| Failure::usage("HOME is not set; set SORTIE_HOME"))?;
            Ok(home.join(rest))
        };
        let home = match set("SORTIE_HOME") {
            Some(home) => std::path::absolute(PathBuf::from(home)).context("SORTIE_HOME")?,
            None => match absolute("XDG_STATE_HOME") {
                Some(state) => state.join("sortie"),
                None => in_home(".local/state/sortie")?,
            },
        };
        let user_settings = match std::env::var_os("SORTIE_CONFIG") {
            Some(path) => PathBuf::from(path),
            None => match absolute("XDG_CONFIG_HOME") {
                Some(config) => config.join("sortie/config.toml"),
                None => in_home(".config/sortie/config.toml")?,
            },
        };
        let organisation_settings = std::env::var_os("SORTIE_ORG_CONFIG")
            .map_or_else(|| PathBuf::from("/etc/sortie/config.toml"), PathBuf::from);
        DirBuilder::new().recursive(true).mode(0o700).create(&home).with_context(|| {
            format!("cannot make the state folder `{}`; SORTIE_HOME can name another", home.display())
        })?;
        check_private(&home)?;
        let component_cache =
            std::env::var_os("SORTIE_CACHE").map_or_else(|| home.join("cache/components"), PathBuf::from);
        Ok(Self { home, user_settings, organisation_settings, component_cache })
    }
}

/// A folder that was there before may be anybody's to read: it will hold what
/// models, tools and commands said.
fn check_private(home: &Path) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(home);
    let metadata =
        metadata.with_context(|| format!("cannot look at the state folder `{}`", home.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let home = home.display();
    Err(Failure::usage(format!(
        "the state folder `{home}` is open to others (mode {mode:o})\nhint: `chmod 700 {home}`, or name another in SORTIE_HOME"
    )))
}
