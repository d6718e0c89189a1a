//! Where Sortie keeps its state and finds its settings.

#![expect(clippy::disallowed_methods, reason = "makes the host's state folder")]

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::Failure;

/// The places, resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let places = Self::named_by(|name| std::env::var_os(name))?;
        let home = &places.home;
        DirBuilder::new().recursive(true).mode(0o700).create(home).with_context(|| {
            format!("cannot make the state folder `{}`; SORTIE_HOME can name another", home.display())
        })?;
        check_private(home)?;
        Ok(places)
    }

    fn named_by(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        // one that is empty is as good as unset
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
        let in_home = |rest: &str| -> anyhow::Result<PathBuf> {
            let home = absolute("HOME").ok_or_else(|| Failure::usage("HOME is not set; set SORTIE_HOME"))?;
            Ok(home.join(rest))
        };
        let home = match set("SORTIE_HOME") {
            Some(home) => std::path::absolute(home).context("SORTIE_HOME")?,
            None => match absolute("XDG_STATE_HOME") {
                Some(state) => state.join("sortie"),
                None => in_home(".local/state/sortie")?,
            },
        };
        let user_settings = match set("SORTIE_CONFIG") {
            Some(path) => path,
            None => match absolute("XDG_CONFIG_HOME") {
                Some(config) => config.join("sortie/config.toml"),
                None => in_home(".config/sortie/config.toml")?,
            },
        };
        let organisation_settings =
            set("SORTIE_ORG_CONFIG").unwrap_or_else(|| PathBuf::from("/etc/sortie/config.toml"));
        let component_cache = set("SORTIE_CACHE").unwrap_or_else(|| home.join("cache/components"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_empty_is_as_good_as_one_that_is_not_set() {
        let unset = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        let usual = Places::named_by(unset).expect("HOME is set");
        assert_eq!(usual.organisation_settings, Path::new("/etc/sortie/config.toml"));
        for empty in [
            "SORTIE_HOME",
            "SORTIE_CONFIG",
            "SORTIE_ORG_CONFIG",
            "SORTIE_CACHE",
            "XDG_STATE_HOME",
            "XDG_CONFIG_HOME",
        ] {
            let variable = |name: &str| if name == empty { Some(OsString::new()) } else { unset(name) };
            assert_eq!(Places::named_by(variable).expect("HOME is set"), usual, "{empty}");
            let elsewhere = |name: &str| if name == empty { Some("/there".into()) } else { unset(name) };
            assert_ne!(Places::named_by(elsewhere).expect("HOME is set"), usual, "{empty}");
        }
    }
}
