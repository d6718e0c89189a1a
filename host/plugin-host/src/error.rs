//! Why a plugin is not loaded.

use sortie_core::text::one_line;

use crate::spec::PluginKind;

/// A plugin is not loaded.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{}` from {}: {problem}", one_line(.id, 80), one_line(.origin, 300))]
pub struct LoadError {
    /// Its id.
    pub id: String,
    /// Where its bytes come from.
    pub origin: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its id is no id.
    #[error("an id is 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`")]
    Id,
    /// The bytes are not those that were agreed to.
    #[error("its SHA-256 is {found}, and {pinned} was agreed to")]
    Digest {
        /// Of the bytes.
        found: String,
        /// In the settings.
        pinned: String,
    },
    /// The bytes are no component.
    #[error("{0}")]
    NotAComponent(String),
    /// It exports nothing that this host calls, or too much.
    #[error("{0}")]
    Exports(String),
    /// It is of the other kind.
    #[error("it is a {found}, not a {wanted}")]
    Kind {
        /// What it exports.
        found: PluginKind,
        /// What was asked for.
        wanted: PluginKind,
    },
    /// It imports what it may not have. One text that lists it all, with the
    /// line of settings that would grant what can be granted.
    #[error("{0}")]
    Imports(String),
    /// Its imports or exports have other types than the host's.
    #[error("it does not fit this host's interfaces: {0}")]
    Types(String),
    /// It failed when it was asked what it offers, or said nonsense.
    #[error("`{function}` failed: {reason}")]
    Failed {
        /// The function that was called.
        function: &'static str,
        /// How it failed.
        reason: String,
    },
    /// What it describes is no set of tools.
    #[error("it describes its tools wrongly: {0}")]
    Description(String),
    /// It does not accept its settings.
    #[error("it does not accept its settings: {0}")]
    Settings(String),
}
