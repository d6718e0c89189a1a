//! Lays out the new root: turns a configuration into the helper's plan.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::environment::{CERTIFICATES, HOME, WORKSPACE};
use super::identity::Owner;
use super::plan::{Access, Entry, Plan};
use super::{SandboxConfig, SandboxError, system};

/// The most bytes of certificates.
const MAX_CERTIFICATES: u64 = 8 << 20;

pub(super) fn plan(config: &SandboxConfig, bound_memory: bool) -> Result<Plan, SandboxError> {
    let owner = Owner::current();
    for folder in [&config.work_tree, &config.home] {
        check_folder(folder, owner)?;
    }
    let mut entries = system::entries(owner);
    entries.extend([
        Entry::Memory { target: "/run".into(), bytes: 16 << 20, mode: 0o755 },
        Entry::Memory { target: "/tmp".into(), bytes: config.limits.tmp, mode: 0o1777 },
        Entry::Memory { target: "/dev/shm".into(), bytes: config.limits.shared_memory, mode: 0o1777 },
    ]);
    // toolchains are shown in a home that is covered, and nothing is in what is hidden
    entries.extend(
        config.toolchains.home.iter().filter_map(|home| home.canonicalize().ok()).filter_map(of_system),
    );
    entries.extend(config.toolchains.shown.iter().map(|path| bind(path, path, Access::ReadOnly)));
    entries.extend(credentials(config));
    entries.extend(hidden(config));
    entries.extend([
        bind(&config.home, HOME.as_ref(), Access::ReadWrite),
        bind(&config.work_tree, WORKSPACE.as_ref(), Access::ReadWrite),
    ]);
    if let Some(path) = &config.certificates {
        entries.push(Entry::File { target: CERTIFICATES.into(), text: read_certificates(path)? });
    }
    Ok(Plan {
        owner,
        entries,
        masks: relative(&config.masks),
        read_only: relative(&config.read_only),
        seeds: config.toolchains.seeds.clone(),
        limits: config.limits,
        bound_memory,
    })
}

fn bind(source: &Path, target: &Path, access: Access) -> Entry {
    Entry::Bind { source: source.to_owned(), target: target.to_owned(), access }
}

/// Hides the toolchains' credentials, of those that are there.
fn credentials(config: &SandboxConfig) -> impl Iterator<Item = Entry> {
    let there = config.toolchains.credentials.iter().filter(|path| path.exists());
    there.map(|path| Entry::Hide { target: path.clone() })
}

/// Empties what the configuration names wherever it would be seen, be it a whole system directory. A folder above
/// what is shown is not seen anyway.
fn hidden(config: &SandboxConfig) -> Vec<Entry> {
    let real = config.hidden.iter().filter_map(|path| path.canonicalize().ok());
    let places = real.flat_map(|path| {
        // a toolchain is shown under the name that it goes by, which may lead elsewhere
        let of_toolchains = config.toolchains.shown.iter().filter_map(|shown| {
            let below = path.strip_prefix(shown.canonicalize().ok()?).ok()?;
            Some(Entry::Cover { target: shown.join(below) })
        });
        of_toolchains.chain(of_system(path.clone())).collect::<Vec<_>>()
    });
    places.collect()
}

/// Empties a folder of the system directories.
fn of_system(target: PathBuf) -> Option<Entry> {
    system::shows(&target).then_some(Entry::Cover { target })
}

/// Paths without anything that leads out of the work tree; the helper resolves them beneath it in any case.
fn relative(paths: &[PathBuf]) -> Vec<PathBuf> {
    let plain = |path: &&PathBuf| {
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
            && path.components().any(|part| matches!(part, Component::Normal(_)))
    };
    paths.iter().filter(plain).cloned().collect()
}

fn check_folder(path: &Path, owner: Owner) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Folder { path: path.to_owned(), source };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    if metadata.uid() != owner.uid {
        return Err(SandboxError::Owner { path: path.to_owned(), found: metadata.uid(), wanted: owner.uid });
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<String, SandboxError> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_CERTIFICATES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        fs::read_to_string(path)
    };
    read().map_err(|source| SandboxError::Step {
        step: format!("read the certificates in `{}`", path.display()),
        source,
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_is_no_path_of_the_work_tree() {
        let paths = ["a/b", "../a", "/etc/passwd", ".", "", "./c"].map(PathBuf::from);
        assert_eq!(relative(&paths), ["a/b", "./c"].map(PathBuf::from));
    }

    #[test]
    fn a_hidden_folder_is_covered_though_it_is_a_whole_system_directory() {
        let mut config = SandboxConfig::new(Vec::new(), PathBuf::new(), PathBuf::new());
        config.hidden = ["/usr", "/usr/share", "/var"].map(PathBuf::from).into();
        let covered = hidden(&config);
        let target = |entry: &Entry| matches!(entry, Entry::Cover { target } if target.starts_with("/usr"));
        assert!(covered.len() == 2 && covered.iter().all(target), "{covered:?}");
    }

    #[test]
    fn credentials_that_are_there_are_hidden_after_what_shows_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = SandboxConfig::new(Vec::new(), folder.path().to_owned(), folder.path().to_owned());
        config.toolchains.credentials = ["/usr/bin/env", "/usr/no-such"].map(PathBuf::from).into();
        let hidden: Vec<_> = credentials(&config).collect();
        assert!(
            matches!(&hidden[..], [Entry::Hide { target }] if target == Path::new("/usr/bin/env")),
            "{hidden:?}"
        );
        let owner = Owner::current();
        std::os::unix::fs::chown(folder.path(), Some(owner.uid), Some(owner.gid)).expect("root may");
        let entries = plan(&config, false).expect("it can be laid out").entries;
        let shown =
            |entry: &Entry| matches!(entry, Entry::Bind { target, .. } if target == Path::new("/usr"));
        let hides = |entry: &Entry| matches!(entry, Entry::Hide { .. });
        let [shown, hidden] = [entries.iter().position(shown), entries.iter().position(hides)];
        assert!(shown.is_some() && shown < hidden, "{shown:?}, {hidden:?}");
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let wanted = Owner { uid: 4242, gid: 4242 };
        let error = check_folder(Path::new("/usr"), wanted).expect_err("/usr is root's");
        assert_eq!(error.to_string(), "`/usr` belongs to user 0, but commands run as user 4242");
    }
}
