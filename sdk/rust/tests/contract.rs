//! The public contract in `wit/`: that it resolves as a whole, that each kind
//! of component is asked for what its world says and no more, and that what is
//! vendored is what its source has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

/// The vendored packages, each after those that it uses.
const DEPS: [&str; 7] = ["io", "clocks", "random", "filesystem", "sockets", "cli", "http"];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

fn resolve() -> Resolve {
    let mut resolve = Resolve::default();
    for name in DEPS {
        let path = wit().join("deps").join(name).with_extension("wit");
        resolve.push_path(&path).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    for name in ["host", "tool", "policy"] {
        resolve.push_path(wit().join(name)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    resolve
}

fn world(resolve: &Resolve, package: &str, name: &str) -> WorldId {
    let (_, world) = resolve
        .worlds
        .iter()
        .find(|(_, world)| {
            let id = world.package.map(|id| resolve.packages[id].name.to_string());
            world.name == name && id.as_deref() == Some(package)
        })
        .map(|(id, world)| (world, id))
        .unwrap_or_else(|| panic!("there is no world {package}/{name}"));
    world
}

fn interfaces<'a>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'a WorldKey, &'a WorldItem)>,
) -> BTreeSet<String> {
    let items = items.into_iter().filter(|(_, item)| matches!(item, WorldItem::Interface { .. }));
    items.map(|(key, _)| resolve.name_world_key(key)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("sortie:host/{name}@0.1.0")).collect()
}

#[test]
fn each_world_imports_what_it_says_and_exports_its_own_kind_only() {
    let resolve = resolve();
    let tool = "sortie:tool@0.1.0";
    let policy = "sortie:policy@0.1.0";
    for (package, name, imports, export) in [
        (tool, "plugin", set(&["types", "config", "telemetry", "control"]), "sortie:tool/tool@0.1.0"),
        (
            tool,
            "plugin-all",
            set(&["types", "config", "telemetry", "control", "exec", "files", "git"]),
            "sortie:tool/tool@0.1.0",
        ),
        (policy, "plugin", set(&["types", "config", "telemetry"]), "sortie:policy/policy@0.1.0"),
    ] {
        let world = &resolve.worlds[world(&resolve, package, name)];
        assert_eq!(interfaces(&resolve, &world.imports), imports, "{package}/{name}");
        let exports = interfaces(&resolve, &world.exports);
        assert_eq!(exports, BTreeSet::from([export.to_owned()]), "{package}/{name}");
    }
    let with_http = &resolve.worlds[world(&resolve, tool, "plugin-http")];
    let imports = interfaces(&resolve, &with_http.imports);
    assert!(imports.contains("wasi:http/outgoing-handler@0.2.12"), "{imports:?}");
}

#[test]
fn every_interface_function_and_type_of_ours_is_documented() {
    let resolve = resolve();
    let ours = |package: Option<_>| {
        package.is_some_and(|id: wit_parser::PackageId| resolve.packages[id].name.namespace == "sortie")
    };
    let mut missing = Vec::new();
    for (_, interface) in resolve.interfaces.iter().filter(|(_, interface)| ours(interface.package)) {
        let name = interface.name.clone().unwrap_or_default();
        if interface.docs.contents.is_none() {
            missing.push(name.clone());
        }
        for function in interface.functions.values().filter(|function| function.docs.contents.is_none()) {
            missing.push(format!("{name}.{}", function.name));
        }
        for (key, id) in &interface.types {
            let ty = &resolve.types[*id];
            // Types that are used from elsewhere are documented there.
            let used = matches!(ty.kind, wit_parser::TypeDefKind::Type(wit_parser::Type::Id(_)));
            if !used && ty.docs.contents.is_none() {
                missing.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "without documentation: {missing:?}");
}

#[test]
fn vendored_packages_are_those_of_their_source() {
    let folder = wit().join("deps");
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("is there");
    assert!(sums.starts_with("# Vendored from the crate wasmtime-wasi-http "), "the source is named");
    let recorded: BTreeMap<String, String> = sums
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).expect("is a folder") {
        let name = entry.expect("is readable").file_name().into_string().expect("is UTF-8");
        // an editor may keep files of its own beside them
        if name.ends_with(".wit") {
            let bytes = fs::read(folder.join(&name)).expect("is readable");
            let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            found.insert(name, sum);
        }
    }
    assert_eq!(found, recorded);
}
