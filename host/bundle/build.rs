//! Builds the first-party components and init with a nested cargo, and writes
//! `bundle.rs`, which embeds them.
//!
//! The nested cargo has a target folder of its own: the outer one is locked
//! while this runs. `SORTIE_BUNDLE` names a folder of prebuilt files instead,
//! under the names listed here.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const WASM: &str = "wasm32-wasip2";

/// Id of the plugin, its package, whether it is a policy.
const COMPONENTS: [(&str, &str, bool); 6] = [
    ("shell", "sortie-tool-shell", false),
    ("files", "sortie-tool-files", false),
    ("git", "sortie-tool-git", false),
    ("tests", "sortie-tool-tests", false),
    ("fetch", "sortie-tool-fetch", false),
    ("rules", "sortie-policy-rules", true),
];

fn main() {
    if let Err(message) = run() {
        println!("cargo::error={}", message.replace('\n', " | "));
    }
}

fn run() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    println!("cargo::rerun-if-env-changed=SORTIE_BUNDLE");
    let folder = match env::var_os("SORTIE_BUNDLE") {
        Some(folder) => PathBuf::from(folder),
        None => build(&root, &out)?,
    };
    let mut text = String::from("pub(crate) static COMPONENTS: &[Component] = &[\n");
    for (id, package, policy) in COMPONENTS {
        let file = folder.join(component_file(package));
        let kind = if policy { "Policy" } else { "Tool" };
        let _ =
            writeln!(text, "    Component {{ id: {id:?}, kind: Kind::{kind}, bytes: {} }},", embed(&file)?);
    }
    let _ =
        writeln!(text, "];\npub(crate) static INIT_BYTES: &[u8] = {};", embed(&folder.join("sortie-init"))?);
    fs::write(out.join("bundle.rs"), text).map_err(|error| format!("cannot write bundle.rs: {error}"))
}

fn embed(file: &Path) -> Result<String, String> {
    let file = file.canonicalize().map_err(|error| format!("{} is not there: {error}", file.display()))?;
    println!("cargo::rerun-if-changed={}", file.display());
    Ok(format!("include_bytes!({:?})", file.display().to_string()))
}

/// Builds everything and gathers it in one folder.
fn build(root: &Path, out: &Path) -> Result<PathBuf, String> {
    for source in ["Cargo.lock", "Cargo.toml", "wit", "sdk/rust", "plugins", "host/init"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let musl = format!("{}-unknown-linux-musl", variable("CARGO_CFG_TARGET_ARCH")?);
    require_targets(&[WASM, &musl])?;
    // target/<profile>/build/<package>/out -> target/bundle: debug and release share it
    let target = out.ancestors().nth(4).ok_or("the build folder has no parent")?.join("bundle");
    let packages: Vec<_> = COMPONENTS.iter().flat_map(|(_, package, _)| ["-p", *package]).collect();
    cargo(root, &target, WASM, "guest", &packages)?;
    cargo(root, &target, &musl, "init", &["-p", "sortie-init"])?;

    let folder = out.join("files");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let copy = |from: PathBuf, to: String| {
        fs::copy(&from, folder.join(to)).map_err(|error| format!("cannot copy {}: {error}", from.display()))
    };
    for (_, package, _) in COMPONENTS {
        let file = component_file(package);
        copy(target.join(WASM).join("guest").join(&file), file)?;
    }
    copy(target.join(&musl).join("init/sortie-init"), "sortie-init".into())?;
    Ok(folder)
}

fn component_file(package: &str) -> String {
    format!("{}.wasm", package.replace('-', "_"))
}

fn cargo(root: &Path, target: &Path, triple: &str, profile: &str, packages: &[&str]) -> Result<(), String> {
    let mut command = Command::new(variable("CARGO")?);
    command
        .args(["build", "--locked", "--quiet", "--profile", profile, "--target", triple, "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(packages);
    // what configures the outer build (flags, wrappers, the compiler itself under clippy) is not for this one
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let kept = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
        let outer = name.starts_with("CARGO") && !kept.iter().any(|prefix| name.starts_with(prefix));
        if outer
            || ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC", "RUSTDOC", "MAKEFLAGS"].contains(&&*name)
            || name.starts_with("RUSTC_")
        {
            command.env_remove(&*name);
        }
    }
    let output = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    eprintln!("{stderr}");
    let first = stderr.lines().find(|line| line.starts_with("error")).unwrap_or("see above");
    Err(format!("building {} for {triple} failed: {first}", packages.join(" ")))
}

/// One line that says what to run, instead of a page of errors about `core`.
fn require_targets(targets: &[&str]) -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let missing: Vec<_> = targets
        .iter()
        .filter(|target| {
            let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output();
            !output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
        })
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("a Rust target is missing; run: rustup target add {}", missing.join(" ")))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
