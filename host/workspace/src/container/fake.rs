//! What is refused of an engine, shown by one that is not real: it says what a real one would have to be old, foreign
//! or forgetful for, and whatever it was asked to make, it is this process that calls in the place of process 1.

#![expect(clippy::disallowed_methods, reason = "plays an engine")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
use serde_json::{Value, json};
use sortie_core::image::{ImageRegistries, UnwantedImage};
use sortie_init::protocol::READY;

use super::find::Endpoint;
use super::{Container, ContainerConfig, ContainerError, Engine, EngineError, EngineKind, NamedBy};
use crate::sandbox::{Limits, Owner};

/// What it says, and who listens.
#[derive(Clone)]
pub(super) struct Says {
    kernel: String,
    api: &'static str,
    component: &'static str,
    /// Parts of `/info` that differ.
    info: Value,
    /// Of the limits that it was asked for, what it says that it keeps.
    kept: Value,
    /// Parts of what it says of the image `any`.
    image: Value,
    process: u32,
    /// Set as soon as it has made the image that it was asked for; none where that takes no time.
    commits: Option<Arc<AtomicBool>>,
    /// How often it refuses to remove a container, and what it says that its state is.
    refusals: usize,
    status: &'static str,
    /// With which status of HTTP it refuses.
    refusal: u16,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            api: "1.41",
            component: "Engine",
            info: json!({}),
            kept: json!({}),
            image: json!({}),
            process: std::process::id(),
            commits: None,
            refusals: 0,
            status: "running",
            refusal: 409,
        }
    }
}

impl Says {
    /// That removes nothing before it was asked so often, and says meanwhile that this is its state.
    pub(super) fn refusing(self, refusals: usize, status: &'static str) -> Self {
        Self { refusals, status, ..self }
    }

    /// That refuses with this status of HTTP.
    pub(super) fn with(self, refusal: u16) -> Self {
        Self { refusal, ..self }
    }
}

pub(super) struct Fake {
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(super) fn start(says: Says) -> Self {
        let fake = Self { folder: tempfile::tempdir().expect("a folder"), seen: Arc::default() };
        let listener = UnixListener::bind(fake.socket()).expect("it is free");
        let (seen, control) = (Arc::clone(&fake.seen), fake.folder.path().join("container/control"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (says, seen, control) = (says.clone(), Arc::clone(&seen), control.clone());
                // the client hangs up when it likes
                std::thread::spawn(move || drop(serve(stream, &says, &seen, &control)));
            }
        });
        fake
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    pub(super) async fn connect(&self) -> Result<Engine, EngineError> {
        Engine::of(Endpoint { socket: self.socket(), named: "the test".to_owned() }).await
    }

    fn config(&self, limits: Limits) -> ContainerConfig {
        let folder = |name: &str| {
            let path = self.folder.path().join(name);
            std::fs::create_dir(&path).expect("it is new");
            let Owner { uid, gid } = Owner::current();
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).expect("root may, others keep theirs");
            path
        };
        let container = self.folder.path().join("container");
        ContainerConfig {
            task: "task-222222".to_owned(),
            owner: "me".to_owned(),
            limits,
            ..ContainerConfig::new("any", Vec::new(), container, folder("work"), folder("home"))
        }
    }

    fn asked(&self, what: &str) -> bool {
        self.seen.lock().expect("lock").iter().any(|line| line.starts_with(what))
    }
}

fn serve(stream: UnixStream, says: &Says, seen: &Mutex<Vec<String>>, control: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut call: Option<OwnedFd> = None;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        // `POST /v1.41/containers/create?…`
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1.").map_or(path, |rest| rest.trim_start_matches(|c| c != '/'));
        let path = path.trim_start_matches('/');
        seen.lock().expect("lock").push(format!("{method} {path}"));
        let (status, answer) = match (method, path) {
            (_, "containers/id/wait") => loop {
                std::thread::park();
            },
            ("POST", "containers/id/start") => {
                call = Some(call_in(control));
                (204, Value::Null)
            }
            ("POST", "commit") => {
                while says.commits.as_ref().is_some_and(|commits| !commits.load(Ordering::Relaxed)) {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                (201, json!({ "Id": format!("sha256:{:064}", 1) }))
            }
            ("DELETE", asked) if times(seen, &format!("DELETE {asked}")) <= says.refusals => {
                (says.refusal, json!({ "message": "not now" }))
            }
            (_, path) => (200, answer(says, path)),
        };
        let body = if answer.is_null() { String::new() } else { answer.to_string() };
        let kind = "Content-Type: application/json";
        write!(writer, "HTTP/1.1 {status} OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let _held = &call;
    }
}

/// How often it was asked for that.
fn times(seen: &Mutex<Vec<String>>, what: &str) -> usize {
    seen.lock().expect("lock").iter().filter(|line| *line == what).count()
}

fn answer(says: &Says, path: &str) -> Value {
    match path {
        "version" => json!({
            "ApiVersion": says.api,
            "Version": "0",
            "Components": [{ "Name": says.component, "Version": "0" }],
        }),
        "info" => {
            let mut info = json!({
                "KernelVersion": says.kernel,
                "CgroupVersion": "2",
                "MemoryLimit": true,
                "PidsLimit": true,
                "CpuCfsQuota": true,
            });
            let differs = says.info.as_object().expect("parts").clone();
            info.as_object_mut().expect("parts").extend(differs);
            info
        }
        "images/any/json" => {
            let mut image = json!({ "Id": format!("sha256:{:064}", 0), "RepoTags": ["any:latest"] });
            image.as_object_mut().expect("parts").extend(says.image.as_object().expect("parts").clone());
            image
        }
        "containers/create" => json!({ "Id": "id", "Warnings": [] }),
        "containers/id/json" => {
            let state = json!({ "Pid": says.process, "Status": says.status });
            json!({ "State": state, "HostConfig": says.kept })
        }
        _ => json!({}),
    }
}

/// Does what init does.
fn call_in(control: &Path) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    rustix::net::connect(&socket, &SocketAddrUnix::new(control).expect("it is short")).expect("it listens");
    rustix::net::send(&socket, &READY, SendFlags::empty()).expect("it is heard");
    socket
}

fn limits() -> Limits {
    Limits { memory: 7 << 20, processes: 9, cpus: Some(1.5), ..Limits::default() }
}

fn kept() -> Value {
    json!({ "Memory": 7 << 20, "PidsLimit": 9, "NanoCpus": 1_500_000_000 })
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused_with_the_versions() {
    assert!(Fake::start(Says::default()).connect().await.is_ok());
    for api in ["1.40", "1.9"] {
        let error = Fake::start(Says { api, ..Says::default() }).connect().await.expect_err("it is old");
        assert!(matches!(&error, EngineError::Old { found, wanted: "1.41" } if found == api), "{error}");
    }
}

#[tokio::test]
async fn an_engine_under_another_kernel_is_refused_with_both() {
    let says = Says { kernel: "5.10.0-elsewhere".to_owned(), ..Says::default() };
    let error = Fake::start(says).connect().await.expect_err("it is elsewhere").to_string();
    let ours = Says::default().kernel;
    assert!(error.contains("5.10.0-elsewhere") && error.contains(&ours), "{error}");
}

#[tokio::test]
async fn a_limit_that_the_engine_lacks_is_refused_before_anything_is_made() {
    for (key, name) in
        [("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "processor time")]
    {
        let mut info = json!({});
        info[key] = false.into();
        let fake = Fake::start(Says { info, ..Says::default() });
        let engine = fake.connect().await.expect("it is there");
        assert_eq!(engine.about().lacks, [name]);
        let error = Container::start(&engine, fake.config(limits())).await.expect_err("it cannot be");
        assert!(error.to_string().contains(name), "{error}");
        assert!(!fake.asked("POST"), "{:?}", fake.seen);
    }
}

#[tokio::test]
async fn an_engine_of_a_user_keeps_no_limit_with_the_old_cgroups_whatever_it_says() {
    let rootless = json!(["name=seccomp,profile=default", "name=rootless"]);
    for (cgroups, lacks) in [("1", &["memory", "processes", "processor time"][..]), ("2", &[])] {
        let info = json!({ "CgroupVersion": cgroups, "SecurityOptions": rootless });
        let engine = Fake::start(Says { info, ..Says::default() }).connect().await.expect("it is there");
        assert!(engine.about().rootless);
        assert_eq!(engine.about().lacks, lacks, "version {cgroups}");
    }
    // Podman's says nothing of it, but it is whoever listens
    let says = Says { component: "Podman Engine", ..Says::default() };
    let engine = Fake::start(says).connect().await.expect("it is there");
    assert_eq!(engine.about().kind, EngineKind::Podman);
    assert_eq!(engine.about().rootless, !rustix::process::geteuid().is_root());
}

#[tokio::test]
async fn a_limit_that_the_engine_drops_without_a_word_ends_the_container() {
    let mut more = kept();
    more["NanoCpus"] = 1_499_999_999.into();
    for kept in [kept(), more] {
        let fake = Fake::start(Says { kept, ..Says::default() });
        let engine = fake.connect().await.expect("it is there");
        assert!(Container::start(&engine, fake.config(limits())).await.is_ok());
    }
    for (key, name) in [("Memory", "memory"), ("PidsLimit", "processes"), ("NanoCpus", "processor time")] {
        for other in [Value::Null, 0.into(), (-1).into(), i64::MAX.into()] {
            let mut kept = kept();
            kept[key] = other;
            let fake = Fake::start(Says { kept, ..Says::default() });
            let engine = fake.connect().await.expect("it is there");
            let error = Container::start(&engine, fake.config(limits())).await.expect_err("it is dropped");
            assert!(error.to_string().contains(&format!("dropped the one on {name}")), "{error}");
            while !fake.asked("DELETE containers/id") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_caller_that_the_engine_does_not_call_process_1_is_turned_away() {
    let fake = Fake::start(Says { kept: kept(), process: std::process::id() + 1, ..Says::default() });
    let engine = fake.connect().await.expect("it is there");
    let error = Container::start(&engine, fake.config(limits())).await.expect_err("it is not process 1");
    let own = format!("process {} called", std::process::id());
    assert!(error.to_string().contains(&own), "{error}");
}

#[tokio::test]
async fn an_image_that_nobody_waits_for_any_more_loses_its_name_once_the_engine_has_made_it() {
    let made = Arc::new(AtomicBool::new(false));
    let fake = Fake::start(Says { kept: kept(), commits: Some(Arc::clone(&made)), ..Says::default() });
    let engine = fake.connect().await.expect("it is there");
    let started = Container::start(&engine, fake.config(limits())).await.expect("it starts");
    let asked = async |what: &str| {
        while !fake.asked(what) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        committed = started.commit("kept:x", 1 << 20) => panic!("it is not made yet: {committed:?}"),
        () = asked("POST commit") => {}
    }
    let ended = tokio::spawn(async move { started.finish().await });
    asked("DELETE containers/id").await;
    assert!(!fake.asked("DELETE images"), "there is none yet: {:?}", fake.seen);
    made.store(true, Ordering::Relaxed);
    ended.await.expect("it does not panic").expect("it ends");
    assert!(fake.asked("DELETE images/kept:x"), "{:?}", fake.seen);
}

#[tokio::test]
async fn an_engine_is_not_asked_for_an_image_that_a_repository_may_not_name() {
    let fake = Fake::start(Says::default());
    let engine = fake.connect().await.expect("it is there");
    let unwanted = |error: ContainerError| match error {
        ContainerError::Unwanted(why) => why,
        other => panic!("{other}"),
    };
    let by = NamedBy::default();
    for name in ["a.b/c:1", "127.0.0.1:5000/c", "localhost/c", "sha256:0123", "docker-daemon:a:1"] {
        let refused = engine.pull(name, &by, |_| ()).await.map(drop);
        for refused in [refused, engine.identify(name, &by, |_| ()).await.map(drop)] {
            unwanted(refused.expect_err("nobody listed it"));
        }
        unwanted(engine.has_named(name, &by).await.expect_err("nobody listed it"));
    }
    assert!(!fake.asked("GET images") && !fake.asked("POST images"), "{:?}", fake.seen);
    let listed = ImageRegistries::try_from(vec!["a.b".to_owned()]).expect("it is one");
    // it gives no answer that is an image
    assert!(engine.pull("a.b/c:1", &NamedBy::Repository(listed), |_| ()).await.is_ok());
    assert!(fake.asked("GET images/a.b"), "{:?}", fake.seen);
}

#[tokio::test]
async fn what_an_engine_has_by_an_id_or_what_a_task_made_is_an_operators_to_name() {
    let labels = |label: &str| json!({ "Config": { "Labels": { "other": "", label: "x" } } });
    let mine = |error| matches!(error, ContainerError::Unwanted(UnwantedImage::Ours { .. }));
    let id = |error| matches!(error, ContainerError::Unwanted(UnwantedImage::Id { .. }));
    type Is = fn(ContainerError) -> bool;
    for (image, refused) in [
        (json!({}), None),
        (labels("dev.other.task"), None),
        (json!({ "RepoTags": null }), Some(id as Is)),
        (json!({ "RepoTags": [], "RepoDigests": ["any@sha256:00"] }), Some(id as Is)),
        (json!({ "RepoTags": ["other:latest", "any:2"] }), Some(id as Is)),
        (labels("dev.sortie.task"), Some(mine as Is)),
        (labels("dev.sortie.snapshot"), Some(mine as Is)),
        (labels("dev.sortie.whatever"), Some(mine as Is)),
    ] {
        let fake = Fake::start(Says { image: image.clone(), ..Says::default() });
        let engine = fake.connect().await.expect("it is there");
        assert!(engine.identify("any", &NamedBy::Operator, |_| ()).await.is_ok(), "{image}");
        let by = NamedBy::default();
        let found = [
            engine.identify("any", &by, |_| ()).await.map(drop),
            engine.has_named("any", &by).await.map(drop),
        ];
        for found in found {
            assert_eq!(found.is_err(), refused.is_some(), "{image}");
            if let (Err(error), Some(is)) = (found, refused) {
                assert!(is(error), "{image}");
            }
        }
    }
}
