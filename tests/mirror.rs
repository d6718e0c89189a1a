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
struct Mirror {
    address: SocketAddr,
    /// The requests so far.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    fn of(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").expect("loopback has more than one address");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = request(&stream);
                answer(stream, &folder, &request);
                kept.lock().expect("nobody panics with it").push(request);
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
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

/// Puts a Python and a JavaScript package called `thing` into a folder, as
/// indexes of the two kinds serve them.
fn publish_things(folder: &Path, address: SocketAddr) {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder is made");
        std::fs::write(path, text).expect("a file is written");
    };
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

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program).current_dir(folder).args(arguments).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

/// Without them there is nothing to try; in CI they are there.
fn has(programs: &[&str]) -> bool {
    let runs = |program: &&str| {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let all = programs.iter().all(runs);
    assert!(all || std::env::var_os("CI").is_none(), "one of {programs:?} does not run");
    all
}

/// The hosts that the package managers named.
fn learned(ran: &Ran) -> Vec<&str> {
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
        command.env("PIP_INDEX_URL", format!("http://user:hunter2@{address}/simple"));
        command.env("NPM_CONFIG_REGISTRY", format!("http://user:hunter2@{address}/npm/"));
        command.env_remove("PIP_EXTRA_INDEX_URL").env_remove("npm_config_registry");
        Ran::of(&mut command)
    };

    let ran = run("none", &[]);
    let refused = ran.report()["refused"].as_array().expect("a list");
    let refusal = refused.iter().find(|refusal| refusal["action"] == format!("network-connect {address}"));
    let refusal = refusal.unwrap_or_else(|| panic!("{:#}\n{}", ran.report(), ran.stderr));
    assert_eq!(refusal["reason"], "the network rule of this phase is `none`");
    assert_eq!(refusal["remedy"], format!("`network.setup = \"{address}\"` in the settings would allow it"));
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
    let learn = |arguments: &[&str]| {
        let output = site.sortie().args(["env", "learn"]).args(arguments).output().expect("sortie runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lines = format!("[network]\nsetup = \"{address}\"\n");
    assert_eq!(learn(&[]), lines);
    assert_eq!(learn(&["--write"]), lines);
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
    assert!(hosts.iter().all(|host| !host.contains("evil")), "{hosts:?}");
    let refused = ran.report()["refused"].as_array().expect("a list");
    let refusal = refused.iter().find(|refusal| refusal["action"] == "network-connect evil.example:8081");
    let refusal = refusal.unwrap_or_else(|| panic!("{:#}\n{}", ran.report(), ran.stderr));
    assert_eq!(refusal["policy"], "default");
    assert_eq!(refusal["reason"], "the network rule of this phase is `registries`");
}

#[test]
fn cargo_fetches_from_nowhere_without_a_rule() {
    let site = Site::empty();
    site.write("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.0.0\"\n[dependencies]\nthing = \"1\"\n");
    site.write("src/lib.rs", "");
    site.write(".cargo/config.toml", "[net]\nretry = 0\n");
    site.publish();
    site.aside("config.toml", "[network]\nsetup = \"none\"\n");
    let ran = Ran::of(&mut site.scripted(&json!({ "replies": [finish("done")] })));
    let refused = ran.report()["refused"].as_array().expect("a list");
    assert!(!refused.is_empty(), "{:#}\n{}", ran.report(), ran.stderr);
    for refusal in refused {
        assert_eq!(refusal["reason"], "the network rule of this phase is `none`");
        assert!(
            refusal["remedy"].as_str().is_some_and(|text| text.starts_with("`network.setup = \"")),
            "{refusal:#}"
        );
    }
    assert_eq!(ran.report()["network"]["sent"], 0);
}
