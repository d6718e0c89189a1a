//! What commands in the built-in sandbox find: this machine's own system and
//! toolchains.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sortie_core::digest::Digest;

/// Programs that set-up builds on: what it made with one version may not do
/// with another.
const PROGRAMS: [&str; 15] = [
    "bun", "bundle", "cargo", "cc", "composer", "go", "gradle", "java", "mvn", "node", "npm", "php",
    "python3", "ruby", "uv",
];

/// The same as long as the system and its toolchains are.
pub(super) fn host_identity() -> String {
    let mut known = format!("{}\n", std::env::consts::ARCH);
    known.push_str(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in PROGRAMS {
        let found =
            std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
        if let Some(found) = found {
            known.push_str(&format!("{program} {}\n", version(&found)));
        }
    }
    // rustup's programs are one that asks these for what it runs
    let toolchain = std::env::var_os("RUSTUP_TOOLCHAIN").unwrap_or_default();
    known.push_str(&toolchain.to_string_lossy());
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
    let rustup = std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), Into::into);
    known.push_str(&version(&rustup.join("settings.toml")));
    known.push_str(&version(&rustup.join("update-hashes")));
    format!("sandbox-{}", Digest::of(known.as_bytes()))
}

/// Where a name leads, and the size and time of what lies there.
fn version(path: &Path) -> String {
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match std::fs::metadata(&place) {
        Ok(file) => format!("{} {} {}.{}", place.display(), file.len(), file.mtime(), file.mtime_nsec()),
        Err(_) => String::new(),
    }
}
