//! What of the host every sandbox sees: system directories, a handful of settings, a few devices.
//!
//! An allow-list: never `/` itself, no homes, no `/run`, `/var`, `/srv`, `/mnt`, `/boot`, `/sys`. What we write
//! ourselves (`passwd`, `hosts` and the like) tells nothing about the host.

use std::path::{Path, PathBuf};

use super::identity::Owner;
use super::plan::{Access, Entry};

/// Programs and libraries. On most systems all but the first and last are links.
const DIRECTORIES: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store"];

/// What programs need from `/etc` to start, to know their time zone and to trust certificates. Left out on
/// purpose: `/etc/ssl/private`, `/etc/maven/settings.xml` with its passwords, and `/etc/gitconfig`, which may name
/// credential helpers.
const SETTINGS: [&str; 28] = [
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/magic",
    "/etc/maven/logging",
    "/etc/maven/m2.conf",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/perl",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/java",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The system's part of the new root, `/proc` and the terminals aside.
pub(super) fn entries(owner: Owner) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in DIRECTORIES.iter().chain(&SETTINGS).map(Path::new) {
        entries.extend(shared(path));
    }
    entries.extend(java_settings().iter().filter_map(|path| shared(path)));
    for (target, text) in own_files(owner) {
        entries.push(Entry::File { target: target.into(), text });
    }
    entries.push(Entry::Memory { target: "/dev".into(), bytes: 64 << 10, mode: 0o755 });
    for device in DEVICES.map(PathBuf::from) {
        entries.push(Entry::Bind { source: device.clone(), target: device, access: Access::Device });
    }
    for (target, to) in DEVICE_LINKS {
        entries.push(Entry::Link { target: target.into(), to: to.into() });
    }
    entries.push(Entry::Link { target: "/var/tmp".into(), to: "/tmp".into() });
    entries
}

/// Java's settings, one folder a version: the links in its home lead there.
fn java_settings() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_java_settings(path)).collect()
}

fn is_java_settings(path: &Path) -> bool {
    path.parent() == Some(Path::new("/etc"))
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("java-"))
}

/// Whether a path of the host lies in what every sandbox sees.
pub(super) fn shows(path: &Path) -> bool {
    DIRECTORIES.iter().chain(&SETTINGS).any(|shown| path.starts_with(shown))
}

/// A path of the host at the same place, read-only. A link is made again as a link: where it leads may be shown
/// or not. A link from `/etc` is followed, for where it leads may well be a folder that is not shown.
fn shared(path: &Path) -> Option<Entry> {
    let kind = path.symlink_metadata().ok()?.file_type();
    if kind.is_symlink() && !path.starts_with("/etc") {
        let to = path.read_link().ok()?;
        return Some(Entry::Link { target: path.to_owned(), to });
    }
    path.exists().then(|| Entry::Bind {
        source: path.to_owned(),
        target: path.to_owned(),
        access: Access::ReadOnly,
    })
}

/// The text of `/etc/passwd`: the commands' own user, and those that programs take for granted.
pub(crate) fn users(Owner { uid, gid }: Owner) -> String {
    format!(
        "agent:x:{uid}:{gid}:agent:/home/agent:/bin/sh\n\
         root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

/// The text of `/etc/group`.
pub(crate) fn groups(Owner { gid, .. }: Owner) -> String {
    format!("agent:x:{gid}:\nroot:x:0:\nnogroup:x:65534:\n")
}

fn own_files(owner: Owner) -> [(&'static str, String); 6] {
    let hosts = "127.0.0.1 localhost sortie\n::1 localhost\n".to_owned();
    let names = "passwd: files\ngroup: files\nhosts: files dns\n".to_owned();
    [
        ("/etc/passwd", users(owner)),
        ("/etc/group", groups(owner)),
        ("/etc/hosts", hosts),
        ("/etc/hostname", "sortie\n".to_owned()),
        ("/etc/nsswitch.conf", names),
        // Nothing answers inside: names are the proxy's business.
        ("/etc/resolv.conf", String::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_private_is_on_the_list() {
        for private in [
            "/",
            "/boot",
            "/etc/gitconfig",
            "/etc/maven/settings.xml",
            "/etc/shadow",
            "/etc/ssh/ssh_host_rsa_key",
            "/etc/ssl/private",
            "/etc/sudoers",
            "/home/me",
            "/mnt",
            "/root",
            "/run/docker.sock",
            "/srv",
            "/sys",
            "/var/lib",
            "/var/run/docker.sock",
        ] {
            assert!(!shows(Path::new(private)), "{private}");
        }
        assert!(shows(Path::new("/usr/bin/env")));
    }

    #[test]
    fn no_bind_has_a_private_source() {
        for entry in entries(Owner { uid: 1, gid: 1 }) {
            if let Entry::Bind { source, access, .. } = entry {
                assert!(
                    shows(&source) || is_java_settings(&source) || access == Access::Device,
                    "{}",
                    source.display()
                );
            }
        }
    }
}
