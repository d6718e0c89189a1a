//! The toolchains of the user's home, read-only at their own paths, without the credentials beside them.
//!
//! Each tool's root is known by its variable or its usual place, and of each root only the named parts are
//! shown: `~/.cargo/bin` but never `~/.cargo/credentials.toml`. What a tool wants to write goes to the
//! workspace's own home.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::HOME;
use super::seeds::{self, Seed};
use super::system;
use crate::registries;

/// A tool that installs itself below the home.
struct Known {
    /// The variable that names its root.
    variable: &'static str,
    /// Its root without the variable, below the home.
    root: &'static str,
    /// What of the root is shown; a name with `*` at its end stands for all that begin so.
    parts: &'static [&'static str],
    /// Folders of programs, if the user's own `PATH` does not name them.
    programs: &'static [&'static str],
    /// Whether the tool inside must be told where the root is.
    told: bool,
    /// Files in the root that hold credentials, in case the root lies where every sandbox sees it.
    credentials: &'static [&'static str],
}

/// The root of rustup, which gets a home of its own (see [`super::seeds`]).
const RUSTUP: &str = ".rustup";

const PLAIN: Known =
    Known { variable: "", root: "", parts: &[], programs: &[], told: false, credentials: &[] };

/// Sorted by language. To add one: name what it needs to run, not what it may write.
const KNOWN: &[Known] = &[
    Known {
        variable: "CARGO_HOME",
        root: ".cargo",
        parts: &["bin"],
        programs: &["bin"],
        credentials: &["credentials", "credentials.toml"],
        ..PLAIN
    },
    Known { variable: "RUSTUP_HOME", root: RUSTUP, parts: &["toolchains"], ..PLAIN },
    Known {
        variable: "PYENV_ROOT",
        root: ".pyenv",
        parts: &["bin", "libexec", "plugins", "pyenv.d", "shims", "version", "versions"],
        programs: &["shims", "bin"],
        told: true,
        ..PLAIN
    },
    Known { root: ".local/share/uv", parts: &["python", "tools"], ..PLAIN },
    Known { variable: "PIPX_HOME", root: ".local/share/pipx", parts: &["shared", "venvs"], ..PLAIN },
    Known { root: ".local/share/pypoetry", parts: &["venv"], ..PLAIN },
    Known {
        root: ".local/bin",
        parts: &["hatch", "mise", "nox", "pdm", "pipx", "poetry", "pytest", "ruff", "tox", "uv", "uvx"],
        programs: &[""],
        ..PLAIN
    },
    Known { root: "miniconda3", parts: CONDA, programs: &["bin"], ..PLAIN },
    Known { root: "miniforge3", parts: CONDA, programs: &["bin"], ..PLAIN },
    Known { root: "anaconda3", parts: CONDA, programs: &["bin"], ..PLAIN },
    Known { variable: "NVM_DIR", root: ".nvm", parts: &["alias", "nvm.sh", "versions"], told: true, ..PLAIN },
    Known { variable: "FNM_DIR", root: ".local/share/fnm", parts: &["aliases", "node-versions"], ..PLAIN },
    Known {
        variable: "VOLTA_HOME",
        root: ".volta",
        parts: &["bin", "tools"],
        programs: &["bin"],
        told: true,
        ..PLAIN
    },
    Known { variable: "PNPM_HOME", root: ".local/share/pnpm", parts: &[".tools", "pnpm", "pnpx"], ..PLAIN },
    Known { variable: "DENO_INSTALL", root: ".deno", parts: &["bin"], programs: &["bin"], ..PLAIN },
    Known { variable: "BUN_INSTALL", root: ".bun", parts: &["bin"], programs: &["bin"], ..PLAIN },
    Known { variable: "GOPATH", root: "go", parts: &["bin"], programs: &["bin"], ..PLAIN },
    Known {
        variable: "GOROOT",
        root: ".local/go",
        parts: &["VERSION", "bin", "go.env", "lib", "pkg", "src"],
        programs: &["bin"],
        ..PLAIN
    },
    Known { root: "sdk", parts: &["go*"], ..PLAIN },
    Known { variable: "SDKMAN_DIR", root: ".sdkman", parts: &["candidates"], told: true, ..PLAIN },
    Known {
        variable: "RBENV_ROOT",
        root: ".rbenv",
        parts: &["bin", "libexec", "plugins", "rbenv.d", "shims", "version", "versions"],
        programs: &["shims", "bin"],
        told: true,
        ..PLAIN
    },
    Known {
        variable: "DOTNET_ROOT",
        root: ".dotnet",
        parts: &["dotnet", "host", "packs", "sdk", "shared"],
        programs: &[""],
        told: true,
        ..PLAIN
    },
    Known {
        variable: "ASDF_DATA_DIR",
        root: ".asdf",
        parts: &["asdf.sh", "bin", "installs", "lib", "plugins", "shims"],
        programs: &["shims", "bin"],
        told: true,
        ..PLAIN
    },
    Known {
        variable: "MISE_DATA_DIR",
        root: ".local/share/mise",
        parts: &["installs", "plugins", "shims"],
        programs: &["shims"],
        told: true,
        ..PLAIN
    },
    Known { root: ".elan", parts: &["bin", "settings.toml", "toolchains"], programs: &["bin"], ..PLAIN },
    Known { root: ".ghcup", parts: &["bin", "ghc", "hls", "share"], programs: &["bin"], ..PLAIN },
];

const CONDA: &[&str] =
    &["bin", "condabin", "conda-meta", "envs", "etc", "include", "lib", "libexec", "share", "ssl"];

/// The toolchains that were found, and what it takes to use them inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchains {
    /// The user's home, which no sandbox shows.
    pub(super) home: Option<PathBuf>,
    /// Files and folders to show at their own paths.
    pub(super) shown: Vec<PathBuf>,
    /// Files to hide in what is shown anyway.
    pub(super) credentials: Vec<PathBuf>,
    /// Folders of programs, first come first served.
    pub(super) path: Vec<PathBuf>,
    /// Variables for the tools.
    pub(super) variables: BTreeMap<String, String>,
    /// What is put into the commands' home for them.
    pub(super) seeds: Vec<Seed>,
}

impl Toolchains {
    /// Looks for them below `home`; `variable` reads the environment, usually `std::env::var_os`.
    pub fn discover(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut found = Self { home: Some(home.to_owned()), ..Self::default() };
        let mut usual = Vec::new();
        for known in KNOWN {
            let named = Some(known.variable).filter(|name| !name.is_empty()).and_then(&variable);
            let root = named.map(PathBuf::from).filter(|root| root.is_absolute());
            let root = root.unwrap_or_else(|| home.join(known.root));
            if root.is_dir() {
                found.add(known, &root, home);
                usual.extend(known.programs.iter().map(|program| root.join(program)));
            }
        }
        let named = registries::files(home, &variable).into_iter();
        found.seeds.extend(named.map(|(path, text)| Seed::File { path, text }));
        let own = variable("PATH").unwrap_or_default();
        for folder in std::env::split_paths(&own).chain(usual) {
            // `join("")` leaves a slash at the end; components compare without it.
            let folder: PathBuf = folder.components().collect();
            let visible = found.shows(&folder) || system::shows(&folder);
            if folder.is_absolute() && visible && !found.path.contains(&folder) {
                found.path.push(folder);
            }
        }
        found
    }

    fn add(&mut self, known: &Known, root: &Path, home: &Path) {
        if system::shows(root) {
            self.credentials.extend(known.credentials.iter().map(|name| root.join(name)));
        } else {
            let parts = known.parts.iter().flat_map(|part| expand(root, part));
            self.shown.extend(parts.filter(|part| is_harmless(part, home)));
        }
        if known.root == RUSTUP {
            self.variables.insert("RUSTUP_HOME".to_owned(), format!("{HOME}/{RUSTUP}"));
            self.seeds = seeds::rustup(root);
        }
        let Some(root) = root.to_str() else { return };
        if known.told && !known.variable.is_empty() {
            self.variables.insert(known.variable.to_owned(), root.to_owned());
        }
        if known.root == ".local/share/uv" {
            self.variables.insert("UV_PYTHON_INSTALL_DIR".to_owned(), format!("{root}/python"));
        }
    }

    /// Whether a folder lies in what is shown. `.local/bin` is not itself shown but made for its programs.
    fn shows(&self, folder: &Path) -> bool {
        self.shown.iter().any(|shown| folder.starts_with(shown) || shown.parent() == Some(folder))
    }
}

fn expand(root: &Path, part: &str) -> Vec<PathBuf> {
    let Some(prefix) = part.strip_suffix('*') else { return vec![root.join(part)] };
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    matching.map(|entry| entry.path()).collect()
}

/// Whether a part exists and does not lead, by a link, to the home or above it.
fn is_harmless(part: &Path, home: &Path) -> bool {
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    part.canonicalize().is_ok_and(|real| !home.starts_with(&real) && !Path::new(HOME).starts_with(&real))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("temporary folders can be made");
        for folder in [".cargo/bin", ".cargo/registry", ".rustup/toolchains/stable", ".pyenv/shims", ".ssh"] {
            fs::create_dir_all(home.path().join(folder)).expect("the folder is new");
        }
        fs::write(home.path().join(".cargo/credentials.toml"), "secret").expect("the folder is there");
        home
    }

    #[test]
    fn only_the_named_parts_of_a_tool_are_shown() {
        let home = home();
        let found = Toolchains::discover(home.path(), |_| None);
        let shown: Vec<_> =
            found.shown.iter().map(|path| path.strip_prefix(home.path()).expect("below")).collect();
        assert_eq!(
            shown,
            [Path::new(".cargo/bin"), Path::new(".rustup/toolchains"), Path::new(".pyenv/shims")]
        );
    }

    #[test]
    fn the_users_own_order_of_programs_is_kept_and_unknown_folders_are_left_out() {
        let home = home();
        let at = |name: &str| home.path().join(name).into_os_string().into_string().expect("a plain name");
        let path = format!("{}:{}:/usr/bin:{}:relative", at(".pyenv/shims"), at("bin"), at(".cargo/bin"));
        let found = Toolchains::discover(home.path(), |name| (name == "PATH").then(|| path.clone().into()));
        let expected = [at(".pyenv/shims"), "/usr/bin".to_owned(), at(".cargo/bin")].map(PathBuf::from);
        assert_eq!(found.path, expected);
    }

    #[test]
    fn tools_are_told_where_their_root_is() {
        let home = home();
        let found = Toolchains::discover(home.path(), |_| None);
        assert_eq!(found.variables["PYENV_ROOT"], home.path().join(".pyenv").to_string_lossy());
        assert_eq!(found.variables["RUSTUP_HOME"], "/home/agent/.rustup");
        assert!(!found.variables.contains_key("CARGO_HOME"));
    }

    #[test]
    fn rustup_finds_the_installed_toolchains_in_a_home_of_its_own() {
        let home = home();
        fs::write(home.path().join(".rustup/settings.toml"), "version = 12").expect("the folder is there");
        let found = Toolchains::discover(home.path(), |_| None);
        let stable = home.path().join(".rustup/toolchains/stable");
        let expected = [
            Seed::Link { path: ".rustup/toolchains/stable".into(), to: stable },
            Seed::File { path: ".rustup/settings.toml".into(), text: "version = 12".into() },
        ];
        assert_eq!(found.seeds[..2], expected);
    }

    #[test]
    fn the_registries_of_the_user_are_planted_without_their_credentials() {
        let home = home();
        let npmrc = "registry=https://npm.example/\n//npm.example/:_authToken=secret\n";
        fs::write(home.path().join(".npmrc"), npmrc).expect("the folder is there");
        let found = Toolchains::discover(home.path(), |_| None);
        let text = "registry=https://npm.example/\n".to_owned();
        assert!(found.seeds.contains(&Seed::File { path: ".npmrc".into(), text }), "{:?}", found.seeds);
    }

    #[test]
    fn a_part_that_is_a_link_to_the_home_is_left_out() {
        let home = home();
        fs::remove_dir(home.path().join(".cargo/bin")).expect("it is empty");
        std::os::unix::fs::symlink(home.path(), home.path().join(".cargo/bin")).expect("the place is free");
        let found = Toolchains::discover(home.path(), |_| None);
        assert!(!found.shown.contains(&home.path().join(".cargo/bin")));
    }

    #[test]
    fn credentials_in_a_system_directory_are_hidden() {
        let home = home();
        let found = Toolchains::discover(home.path(), |name| {
            (name == "CARGO_HOME").then(|| OsString::from("/usr/lib"))
        });
        assert!(found.credentials.contains(&PathBuf::from("/usr/lib/credentials.toml")));
    }
}
