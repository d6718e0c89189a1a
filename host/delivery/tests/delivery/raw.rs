//! Objects that Git itself would not make.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Ground, git, git_command};

/// Writes an object past Git's checks.
pub(crate) fn raw_object(folder: &Path, kind: &str, content: &[u8]) -> String {
    let mut child = git_command(folder)
        .args(["hash-object", "-w", "--stdin", "--literally", "-t", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    child.stdin.take().expect("is a pipe").write_all(content).expect("is written");
    let output = child.wait_with_output().expect("git ends");
    String::from_utf8(output.stdout).expect("an id").trim().to_owned()
}

/// Writes a tree with these entries as they stand.
pub(crate) fn raw_tree<'a>(
    ground: &Ground,
    entries: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
) -> String {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        let byte = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).expect("hexadecimal");
        tree.extend((0..40).step_by(2).map(byte));
    }
    raw_object(&ground.origin(), "tree", &tree)
}

/// Makes `main` a commit of a tree with these entries as they stand.
pub(crate) fn publish_tree(ground: &Ground, entries: &[(&str, &str, &str)]) {
    let origin = ground.origin();
    let tree = raw_tree(ground, entries.iter().copied());
    let commit = git(&origin, &["commit-tree", "-m", "hostile", &tree]);
    fs::write(origin.join("refs/heads/main"), commit).expect("is written");
}
