//! Services beside a workspace.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sortie_core::action::Service;
use sortie_policy::ports::Exit;
use sortie_workspace::container::{Container, ContainerConfig, ContainerError, NamedBy, Tell};

use crate::support::{LONG, Place, docker, engine, eventually, image, sh, start, succeeds};

/// What the commands ask a service.
fn get(host: &str, port: u16) -> String {
    format!(
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://{host}:{port}/\").read().decode())'"
    )
}

/// A server of files, with one in it.
fn server(name: &str, image: &str, port: u16) -> Service {
    let script = format!(
        "mkdir /srv/www && cd /srv/www && echo \"$WORD\" > index.html && exec python3 -m http.server {port}"
    );
    Service {
        name: name.to_owned(),
        image: image.to_owned(),
        command: ["sh", "-c", &script].map(str::to_owned).into(),
        variables: BTreeMap::from([("WORD".to_owned(), format!("this is {name}"))]),
        health: Some(get("127.0.0.1", port)),
        health_seconds: Some(600),
    }
}

fn with(place: &Place, image: &str, services: Vec<Service>) -> ContainerConfig {
    ContainerConfig { services, services_by: NamedBy::Operator, ..place.config(image) }
}

/// The identifiers of containers that are services of this test.
fn services(place: &Place) -> Vec<String> {
    let listed = docker(&[
        "ps",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter",
        &format!("label=dev.sortie.owner={}", place.owner),
        "--filter",
        "label=dev.sortie.service",
    ]);
    listed.lines().map(str::to_owned).collect()
}

/// What is told of services, and whoever hears it.
fn telling() -> (Tell, Receiver<String>) {
    let (said, heard) = channel();
    (Tell::new(move |text| drop(said.send(text))), heard)
}

async fn told(heard: &Receiver<String>) -> String {
    let mut told = None;
    eventually("it is told", async || {
        told = heard.try_recv().ok();
        told.is_some()
    })
    .await;
    told.expect("it is")
}

async fn error(config: ContainerConfig) -> ContainerError {
    Container::start(&engine().await, config).await.expect_err("it does not start")
}

#[tokio::test]
async fn services_are_there_by_address_and_by_name_and_go_with_the_workspace() {
    let Some(image) = image() else { return };
    let place = Place::new("services");
    let mut both = vec![server("web", &image, 8080), server("other", &image, 80)];
    if let Ok(musl) = std::env::var("SORTIE_TEST_MUSL_IMAGE") {
        // with nothing but a shell to ask for its health
        both.push(Service {
            name: "small".to_owned(),
            image: musl,
            command: ["httpd", "-f", "-p", "8082", "-h", "/bin"].map(str::to_owned).into(),
            health: Some("wget -q -O /dev/null http://127.0.0.1:8082/sh".to_owned()),
            health_seconds: Some(600),
            ..Service::default()
        });
    }
    let count = both.len();
    let workspace = start(with(&place, &image, both)).await;
    for (host, port, word) in [
        ("127.0.0.1", 8080, "this is web"),
        ("web", 8080, "this is web"),
        ("other", 80, "this is other"),
        ("localhost", 80, "this is other"),
    ] {
        assert_eq!(succeeds(&workspace, &get(host, port)).await.trim(), word, "{host}:{port}");
    }
    let found = services(&place);
    assert_eq!(found.len(), count);
    // they reach each other by name as well: the two that have something to ask with
    let said = found.iter().map(|id| docker(&["exec", id, "sh", "-c", &get("web", 8080)]));
    let said: Vec<_> = said.collect();
    assert_eq!(said.iter().filter(|said| said.contains("this is web")).count(), 2, "{said:?}");
    workspace.stop().await;
    assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_has_few_privileges_no_files_of_ours_and_no_way_out() {
    let Some(image) = image() else { return };
    let place = Place::new("confined");
    let workspace = start(with(&place, &image, vec![server("web", &image, 8080)])).await;
    let id = services(&place).pop().expect("it is there");
    let inside = |script: &str| docker(&["exec", &id, "sh", "-c", script]);
    let status = inside("cat /proc/1/status");
    // chown, dac_override, fowner, setgid, setuid
    for line in ["CapBnd:\t00000000000000cb", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(inside("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo");
    assert_eq!(
        inside("cat /proc/net/route | tail -n +2; ls -d /workspace /home/agent /.sortie 2>/dev/null"),
        ""
    );
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    listener.set_nonblocking(true).expect("it can");
    let gateway = docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]);
    for host in ["127.0.0.1", gateway.as_str(), "169.254.169.254", "192.0.2.1"] {
        let connect = format!(
            "python3 -c 'import socket; socket.create_connection((\"{host}\", {port}), 2)' 2>&1 | tail -1"
        );
        let said = inside(&connect);
        assert!(said.contains("Error"), "{host}: {said}");
    }
    assert!(listener.accept().is_err(), "nobody came");
    let shape = docker(&["inspect", "--format", "{{json .HostConfig}}", &id]);
    let shape: serde_json::Value = serde_json::from_str(&shape).expect("it is JSON");
    assert_eq!(
        (&shape["Privileged"], &shape["Binds"], &shape["PidsLimit"]),
        (&false.into(), &().into(), &2048.into())
    );
    assert_eq!((&shape["Memory"], &shape["MemorySwap"]), (&(4u64 << 30).into(), &(4u64 << 30).into()));
    assert_eq!(shape["LogConfig"]["Config"]["max-size"], "1m");
    workspace.stop().await;
}

#[tokio::test]
async fn a_service_that_dies_is_named_with_its_last_lines_and_nothing_stays() {
    let Some(image) = image() else { return };
    let place = Place::new("dies");
    let mut dies = server("db", &image, 8080);
    let script = "for n in $(seq 50); do echo line $n; done; printf 'no \\033[31mdata\\n'; exit 3";
    dies.command = ["sh", "-c", script].map(str::to_owned).into();
    for health in [dies.health.clone(), None] {
        let is_asked = health.is_some();
        let both = vec![server("web", &image, 8081), Service { health, ..dies.clone() }];
        let (tell, heard) = telling();
        let config = ContainerConfig { tell, ..with(&place, &image, both) };
        let said = match Container::start(&engine().await, config).await {
            Err(error) => error.to_string(),
            // one that nobody asks counts as ready if it lives for a moment, as on a busy machine
            Ok(container) => {
                assert!(!is_asked, "it is never ready");
                let told = told(&heard).await;
                container.stop().await;
                told
            }
        };
        assert!(said.starts_with("the service `db` ended with status 3; it said last:\n"), "{said}");
        assert!(said.contains("\n  line 50\n  no data") && said.lines().count() <= 21, "{said}");
        eventually("all are gone", async || place.listed(&["ps", "--all"]).is_empty()).await;
    }
}

#[tokio::test]
async fn a_service_that_ends_while_the_workspace_runs_is_told_of_and_one_that_ends_with_it_is_not() {
    let Some(image) = image() else { return };
    let place = Place::new("ends");
    let mut db = server("db", &image, 8080);
    let script = "python3 -m http.server 8080 & while sleep 0.1; do [ ! -e /tmp/end ] || break; done; echo no room; exit 3";
    db.command = ["sh", "-c", script].map(str::to_owned).into();
    db.health = Some("true".to_owned());
    let (tell, heard) = telling();
    let both = vec![db, server("web", &image, 8081)];
    let container = start(ContainerConfig { tell, ..with(&place, &image, both) }).await;
    let named = |id: &String| docker(&["exec", id, "sh", "-c", "ls /srv/www || touch /tmp/end"]);
    services(&place).iter().for_each(|id| drop(named(id)));
    let told = told(&heard).await;
    assert!(told.starts_with("the service `db` ended with status 3") && told.contains("no room"), "{told}");
    container.stop().await;
    assert_eq!(heard.try_recv().ok(), None);
}

#[tokio::test]
async fn a_service_that_is_never_ready_is_given_up_after_its_time() {
    let Some(image) = image() else { return };
    let place = Place::new("never");
    let never = |health: &str, seconds| Service {
        command: ["sh", "-c", "echo waiting; sleep 600"].map(str::to_owned).into(),
        health: Some(health.to_owned()),
        health_seconds: Some(seconds),
        ..server("db", &image, 8080)
    };
    // the one long enough for an answer of a busy engine
    for (health, seconds, word) in [
        ("echo not yet; exit 7", 40, "`echo not yet; exit 7` ended with status 7 not yet"),
        ("sleep 600", 15, ""),
    ] {
        let error = error(with(&place, &image, vec![never(health, seconds)])).await.to_string();
        let named = format!("the service `db` is not ready after {seconds} s");
        assert!(error.contains(&named) && error.contains(word), "{error}");
        assert!(error.contains("it said last:\n  waiting"), "{error}");
        eventually("all are gone", async || place.listed(&["ps", "--all"]).is_empty()).await;
    }
}

#[tokio::test]
async fn an_images_own_check_of_health_counts_where_the_service_names_none() {
    let Some(image) = image() else { return };
    let place = Place::new("own");
    let checked = format!("sortie-test-checked:{}", std::process::id());
    let made = docker(&["create", &image, "true"]);
    let label = format!("LABEL dev.sortie.owner={}", place.owner);
    let check = "HEALTHCHECK --interval=1s --timeout=60s CMD test -e /ready || { echo not ready; exit 1; }";
    docker(&["commit", "--change", check, "--change", &label, &made, &checked]);
    docker(&["rm", &made]);
    let service = |script: &str| Service {
        command: ["sh", "-c", script].map(str::to_owned).into(),
        health: None,
        health_seconds: Some(600),
        ..server("db", &checked, 8080)
    };
    let late = start(with(&place, &image, vec![service("sleep 1; touch /ready; exec sleep 600")])).await;
    let id = services(&place).pop().expect("it is there");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Health.Status}}", &id]), "healthy");
    late.stop().await;
    // long enough for a first answer of a busy engine
    let never = Service { health_seconds: Some(60), ..service("sleep 600") };
    let error = error(with(&place, &image, vec![never])).await.to_string();
    assert!(error.contains("not ready after 60 s: not ready"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_a_service_says_why_and_nothing_stays() {
    let Some(image) = image() else { return };
    let place = Place::new("wrong");
    let absent = server("db", "sortie-no-such-image:1", 8080);
    let text = error(with(&place, &image, vec![absent])).await.to_string();
    assert!(text.contains("`sortie-no-such-image:1`"), "{text}");
    let program = Service { command: vec!["/no/such".to_owned()], ..server("db", &image, 8080) };
    let text = error(with(&place, &image, vec![program])).await.to_string();
    assert!(text.contains("the service `db` cannot be started"), "{text}");
    let name = Service { name: "db\n10.0.0.1 evil".to_owned(), ..server("db", &image, 8080) };
    let text = error(with(&place, &image, vec![name])).await.to_string();
    assert!(text.contains("is no name of a host"), "{text}");
    eventually("all are gone", async || place.listed(&["ps", "--all"]).is_empty()).await;
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let Some(image) = image() else { return };
    let place = Place::new("given-up");
    let slow = Service { health: Some("false".to_owned()), ..server("db", &image, 8080) };
    let engine = engine().await;
    let config = with(&place, &image, vec![slow]);
    let starting = tokio::spawn(async move { Container::start(&engine, config).await.map(drop) });
    eventually("the service is there", async || !services(&place).is_empty()).await;
    eventually("it runs", async || {
        docker(&["inspect", "--format", "{{.State.Running}}", &services(&place)[0]]) == "true"
    })
    .await;
    starting.abort();
    eventually("all are gone", async || place.listed(&["ps", "--all"]).is_empty()).await;
}

/// Runs in a process of its own, which is killed: see the test after it.
#[tokio::test]
#[ignore = "a part of the next one"]
async fn a_host_with_a_service_that_waits_to_be_killed() {
    let Ok(owner) = std::env::var("SORTIE_TEST_VICTIM") else { return };
    let image = image().expect("the test has one");
    let mut place = Place::new("victim");
    place.owner = owner;
    let _workspace = start(with(&place, &image, vec![server("web", &image, 8080)])).await;
    println!("it runs");
    tokio::time::sleep(LONG).await;
}

#[tokio::test]
async fn services_of_a_host_that_was_killed_are_swept_and_those_of_the_living_are_not() {
    let Some(image) = image() else { return };
    let place = Place::new("swept");
    let engine = engine().await;
    let sweep = async |alive: bool| {
        engine
            .sweep(&place.owner, Duration::ZERO, |task| task == "task-222222" && alive)
            .await
            .expect("it answers")
    };
    let name = "services::a_host_with_a_service_that_waits_to_be_killed";
    let mut host = std::process::Command::new("/proc/self/exe")
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env("SORTIE_TEST_VICTIM", &place.owner)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = std::io::BufReader::new(host.stdout.take().expect("it is piped"));
    let runs = std::io::BufRead::lines(said).map_while(Result::ok).any(|line| line.contains("it runs"));
    assert!(runs, "the victim starts");
    assert_eq!(sweep(true).await, 0, "its host is there");
    let [service] = services(&place).try_into().expect("there is one");
    host.kill().expect("it runs");
    host.wait().expect("it ended");
    eventually("the workspace is gone", async || place.listed(&["ps", "--all"]).len() == 1).await;
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.Running}}", &service]),
        "true",
        "it outlives its host"
    );
    let young = engine.sweep(&place.owner, LONG * 10, |_| true).await.expect("it answers");
    assert_eq!(young, 0, "it may be about to be used");
    assert_eq!(sweep(true).await, 1, "without its workspace it is nobody's, whatever is said of its task");
    assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());

    let workspace = start(with(&place, &image, vec![server("web", &image, 8080)])).await;
    assert_eq!(engine.remove_abandoned(&place.owner, Duration::ZERO).await.expect("it answers"), 0);
    assert_eq!(sh(&workspace, &get("web", 8080)).await.exit, Exit::Code(0));
    assert_eq!(sweep(false).await, 1, "a task that is not alive has no services");
    workspace.stop().await;
}

#[tokio::test]
async fn a_service_of_a_repository_is_of_an_image_that_it_may_name() {
    let Some(image) = image() else { return };
    let place = Place::new("unwanted");
    let prefix = docker(&["inspect", "--format", "{{.Id}}", &image]);
    let prefix = prefix.trim_start_matches("sha256:")[..13].to_owned();
    for (named, word) in [(prefix.as_str(), "as an id"), ("127.0.0.1:1/x", "image_registries = [")] {
        // a repository, unless somebody else is said
        let config = ContainerConfig { services: vec![server("db", named, 8000)], ..place.config(&image) };
        let said = error(config).await.to_string();
        assert!(said.contains(named) && said.contains(word), "{said}");
    }
    start(with(&place, &image, vec![server("db", &prefix, 8000)])).await.stop().await;
    assert_eq!(services(&place), Vec::<String>::new());
}
