//! What a toolchain needs to find in a folder of its own that it may write to: links to what is installed, copies
//! of settings. Planted into the commands' home at the start.

#![expect(
    clippy::disallowed_methods,
    reason = "plants into the commands' home, inside and without privileges"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::environment::HOME;

/// The longest settings file that is copied, in bytes.
const MAX_TEXT: u64 = 64 << 10;

/// One link or file below the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Seed {
    Link { path: PathBuf, to: PathBuf },
    File { path: PathBuf, text: String },
}

/// A home for `rustup` with the toolchains of the user's: it makes files there even to run what is installed.
pub(super) fn rustup(root: &Path) -> Vec<Seed> {
    let folder = Path::new(".rustup");
    let installed = fs::read_dir(root.join("toolchains")).into_iter().flatten().flatten();
    let mut seeds: Vec<Seed> = installed
        .map(|entry| Seed::Link { path: folder.join("toolchains").join(entry.file_name()), to: entry.path() })
        .collect();
    let settings = root.join("settings.toml");
    if fs::metadata(&settings).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_TEXT) {
        seeds.extend(
            fs::read_to_string(&settings)
                .ok()
                .map(|text| Seed::File { path: folder.join("settings.toml"), text }),
        );
    }
    seeds
}

/// Plants them where there is nothing yet, inside and without privileges. A home that earlier commands have made
/// unfit for it costs them their toolchain and nobody else anything.
pub(super) fn plant(seeds: &[Seed]) {
    for seed in seeds {
        let _ = plant_one(seed);
    }
}

fn plant_one(seed: &Seed) -> io::Result<()> {
    let (Seed::Link { path, .. } | Seed::File { path, .. }) = seed;
    let path = Path::new(HOME).join(path);
    fs::create_dir_all(path.parent().unwrap_or(Path::new(HOME)))?;
    match seed {
        Seed::Link { to, .. } => symlink(to, path),
        Seed::File { text, .. } => File::create_new(path)?.write_all(text.as_bytes()),
    }
}
