//! Components: the fixtures, built once, and dummies made from WIT.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sortie_plugin_host::{Grants, HostConfig, Limits, PluginHost, PluginSpec};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::task::Log;

/// The tools that misbehave.
pub(crate) fn tool() -> Vec<u8> {
    fixture("fixture_tool")
}

/// The policy that misbehaves.
pub(crate) fn policy() -> Vec<u8> {
    fixture("fixture_policy")
}

fn fixture(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(build);
    std::fs::read(folder.join(format!("{name}.wasm"))).expect("the fixture was built")
}

/// Builds into a folder of its own: the outer cargo holds the lock of its own.
#[expect(clippy::disallowed_methods, reason = "the test runs cargo, and no task is there")]
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--profile", "guest", "--target", "wasm32-wasip2"]);
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO_") && !matches!(&*text, "CARGO_HOME" | "CARGO_NET_OFFLINE");
        if ours || text.starts_with("RUSTFLAGS") || text.starts_with("RUSTC") {
            cargo.env_remove(name);
        }
    }
    let status = cargo.env("CARGO_TARGET_DIR", &target).status().expect("cargo runs");
    assert!(
        status.success(),
        "the fixtures need the target wasm32-wasip2: `rustup target add wasm32-wasip2`"
    );
    target.join("wasm32-wasip2/guest")
}

/// A host whose cache is kept from run to run, as users' are.
pub(crate) fn host(log: &Log) -> PluginHost {
    host_with(log, Limits::default())
}

pub(crate) fn host_with(log: &Log, limits: Limits) -> PluginHost {
    let cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts");
    PluginHost::new(HostConfig { cache_dir, limits, log: log.shared() }).expect("a host")
}

pub(crate) fn spec(id: &str, bytes: Vec<u8>, grants: &str) -> PluginSpec {
    granted(id, bytes, toml::from_str(grants).expect("grants"))
}

pub(crate) fn granted(id: &str, bytes: Vec<u8>, grants: Grants) -> PluginSpec {
    PluginSpec { grants, ..PluginSpec::new(id, bytes, format!("{id}.wasm")) }
}

/// A component with these imports and exports and nothing behind them.
pub(crate) fn dummy(world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    for part in ["io", "clocks", "random", "filesystem", "sockets", "cli", "http"] {
        resolve.push_path(wit.join(format!("deps/{part}.wit"))).expect("WIT");
    }
    for part in ["host", "tool", "policy"] {
        resolve.push_path(wit.join(part)).expect("WIT");
    }
    let text = format!("package test:dummy;\n{world}");
    let package = resolve.push_str("dummy.wit", &text).expect("WIT");
    let world = resolve.select_world(&[package], Some("dummy")).expect("a world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}
