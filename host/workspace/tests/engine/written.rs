//! What services and commands write to the engine's disk has a bound, wherever they write it.

use std::sync::{Arc, Mutex};

use sortie_core::Actor;
use sortie_core::action::{Exec, Service};
use sortie_policy::ports::{Chunk, CommandLimit, Commands as _, Ended, Exit, LimitReached};
use sortie_workspace::commands::{CommandLimits, WorkspaceCommands};
use sortie_workspace::container::{Container, ContainerConfig, NamedBy, Tell};
use sortie_workspace::disk::DiskLimits;

use crate::support::{LONG, Place, docker, engine, eventually, image, start, succeeds};

const DISK: DiskLimits = DiskLimits { bytes: 64 << 20, free: 0 };
const LIMIT: &str = "disk_bytes = 67108864";

/// What was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn all(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics").clone()
    }

    fn bounded(&self, config: ContainerConfig) -> ContainerConfig {
        let told = self.clone();
        let tell = Tell::new(move |text| told.0.lock().expect("nobody panics").push(text));
        ContainerConfig { disk: DISK, tell, ..config }
    }
}

/// Writes 160 MiB there once it is asked to, or at once.
fn writer(image: &str, at: &str, when_asked: bool) -> Service {
    let wait = if when_asked { "while ! test -e /tmp/go; do sleep 0.05; done" } else { "true" };
    let script = format!("{wait}; head -c 160M /dev/zero > {at}/full; sleep 600");
    Service {
        name: "db".to_owned(),
        image: image.to_owned(),
        command: ["sh", "-c", &script].map(str::to_owned).into(),
        health: Some(if when_asked { "true" } else { "sleep 1; false" }.to_owned()),
        health_seconds: Some(600),
        ..Service::default()
    }
}

/// An image that declares `/data` to be a volume.
fn with_volume(place: &Place, image: &str) -> String {
    let name = format!("sortie-test-{}", place.owner);
    let made = docker(&["create", image, "true"]);
    let changes = [format!("LABEL dev.sortie.owner={}", place.owner), "VOLUME /data".to_owned()];
    // commands are no root
    docker(&["cp", "--archive", place.home.to_str().expect("plain"), &format!("{made}:/data")]);
    docker(&["commit", "--change", &changes[0], "--change", &changes[1], &made, &name]);
    docker(&["rm", &made]);
    name
}

/// Runs a command as a task would, with the limits that its workspace tells of.
async fn run(workspace: &Container, script: &str) -> Ended {
    let gate = sortie_testing::gate(Vec::new(), sortie_testing::defaults());
    let disk = workspace.disk().expect("it may write there");
    let limits = CommandLimits::default();
    let commands =
        WorkspaceCommands::new(workspace.client().clone(), gate.seal(), Vec::new(), limits).with_disk(disk);
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).into();
    let permit = gate.permit(&Actor::Agent, Exec { argv, ..Exec::default() }).await.expect("is allowed");
    let mut process = commands.spawn(permit).await.expect("it starts");
    loop {
        if let Some(Chunk::Exit(ended)) = process.next(LONG).await.expect("it goes on") {
            return ended;
        }
    }
}

/// The service of a workspace, by its container's number.
fn service(place: &Place) -> Option<String> {
    let owner = format!("label=dev.sortie.owner={}", place.owner);
    let listed =
        docker(&["ps", "--all", "--quiet", "--filter", &owner, "--filter", "label=dev.sortie.service"]);
    listed.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn a_service_that_fills_its_root_or_its_volume_is_ended_and_the_task_is_told() {
    let Some(image) = image() else { return };
    let place = Place::new("fills");
    let volume = with_volume(&place, &image);
    for (image, at) in [(&image, "/var"), (&volume, "/data")] {
        // the volumes of root's engine are nobody else's to look into
        if at == "/data" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let told = Told::default();
        let config = told.bounded(place.config(image));
        let services = vec![writer(image, at, true)];
        let config = ContainerConfig { services, services_by: NamedBy::Operator, ..config };
        let workspace = start(config).await;
        let id = service(&place).expect("it is there");
        docker(&["exec", &id, "touch", "/tmp/go"]);
        eventually("it is told", async || !told.all().is_empty()).await;
        assert_eq!(
            told.all(),
            [format!("the service `db` reached the limit {LIMIT} of the disk, and was ended")]
        );
        assert_eq!(service(&place), None, "and what it wrote went with it");
        assert_eq!(succeeds(&workspace, "echo alive").await, "alive\n", "the workspace goes on");
        workspace.stop().await;
    }
}

#[tokio::test]
async fn a_service_that_fills_the_disk_before_it_is_ready_is_given_up() {
    let Some(image) = image() else { return };
    let place = Place::new("begins");
    let config = Told::default().bounded(place.config(&image));
    let config = ContainerConfig { services: vec![writer(&image, "/var", false)], ..config };
    let error = Container::start(&engine().await, config).await.expect_err("it is too much").to_string();
    assert!(error.contains(&format!("the service `db` reached the limit {LIMIT} of the disk")), "{error}");
    eventually("all are gone", async || place.listed(&["ps", "--all"]).is_empty()).await;
}

#[tokio::test]
async fn commands_that_fill_a_volume_of_the_image_or_the_root_of_a_set_up_are_ended() {
    let Some(image) = image() else { return };
    let place = Place::new("volume");
    let volume = with_volume(&place, &image);
    let set_up = place.set_up(&image);
    for (config, at) in [(place.config(&volume), "/data"), (set_up, "/var")] {
        if at == "/data" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let told = Told::default();
        let workspace = start(told.bounded(config)).await;
        // little enough that what is written until it is ended is no second reason to end anything
        let filled = run(&workspace, &format!("head -c 72M /dev/zero > {at}/full; sleep 600")).await;
        let reached = LimitReached { limit: CommandLimit::Disk, value: DISK.bytes };
        assert_eq!((filled.exit, filled.limits), (Exit::Signal(9), vec![reached]));
        // the end of a command may be heard before the word
        eventually("it is told", async || !told.all().is_empty()).await;
        let all = told.all();
        assert!(all.len() == 1 && all[0].contains(LIMIT), "{all:?}");
        succeeds(&workspace, &format!("rm {at}/full")).await;
        workspace.stop().await;
    }
}

#[tokio::test]
async fn what_writes_does_not_start_where_too_little_is_free() {
    let Some(image) = image() else { return };
    let place = Place::new("full");
    let disk = DiskLimits { bytes: 64 << 20, free: u64::MAX };
    let service = vec![writer(&image, "/var", true)];
    for config in [place.set_up(&image), ContainerConfig { services: service, ..place.config(&image) }] {
        let config = ContainerConfig { disk, ..config };
        let error = Container::start(&engine().await, config).await.expect_err("no room").to_string();
        assert!(error.contains("are to stay free") && error.contains("hint: "), "{error}");
        assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());
    }
    let reads = start(ContainerConfig { disk, ..place.config(&image) }).await;
    reads.stop().await;
}
