//! Who has this crate.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// The manifests of all that is shipped.
fn manifests() -> Vec<PathBuf> {
    let host =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the folder of the host's crates");
    let crates =
        fs::read_dir(host).expect("it is there").flatten().map(|entry| entry.path().join("Cargo.toml"));
    let root = host.parent().expect("that lies in the workspace").join("Cargo.toml");
    crates.filter(|manifest| manifest.exists()).chain([root]).collect()
}

fn names_it(section: &Table) -> bool {
    section.get("dependencies").and_then(|section| section.as_table()).is_some_and(|names| {
        let renamed = |value: &toml::Value| value.get("package").is_some_and(|name| is_it(name.as_str()));
        names.iter().any(|(name, value)| is_it(Some(name)) || renamed(value))
    })
}

fn is_it(name: Option<&str>) -> bool {
    name == Some(env!("CARGO_PKG_NAME"))
}

#[test]
fn no_crate_has_it_but_for_its_tests() {
    let mut for_tests = 0;
    for path in manifests() {
        let text = fs::read_to_string(&path).expect("it is there");
        let manifest: Table = text.parse().expect("a manifest");
        let targets =
            manifest.get("target").and_then(|targets| targets.as_table()).cloned().unwrap_or_default();
        let sections = targets.values().filter_map(|target| target.as_table()).chain([&manifest]);
        for section in sections {
            assert!(!names_it(section), "{} has it among what it is built with", path.display());
        }
        let dev = manifest.get("dev-dependencies").and_then(|section| section.as_table());
        for_tests += usize::from(dev.is_some_and(|names| names.keys().any(|name| is_it(Some(name)))));
    }
    assert!(for_tests > 5, "control: {for_tests}");
}
