//! Images from Dockerfiles of the repository.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sortie_core::action::ImageBuild;
use sortie_core::image::ImageRegistries;
use sortie_workspace::container::{BuildConfig, Container, ContainerConfig, ContainerError};
use sortie_workspace::disk::DiskLimits;
use sortie_workspace::sandbox::Limits;

use crate::registry::Registry;
use crate::support::{LONG, Place, docker, engine, eventually, image, start, succeeds};

/// More time than any of these builds takes; only a bug lets it pass.
const ENOUGH: Duration = Duration::from_secs(1800);

/// The network of a build, and what was asked of the proxy in it.
struct Network {
    container: Container,
    asked: Receiver<String>,
    limits: Limits,
    registries: ImageRegistries,
}

impl Network {
    /// With a proxy that answers whatever is asked.
    async fn start(place: &Place, image: &str, masks: &[&str]) -> Self {
        let masks = masks.iter().map(Into::into).collect();
        let disk = DiskLimits { bytes: 64 << 20, free: 0 };
        let container = start(ContainerConfig { root: false, masks, disk, ..place.set_up(image) }).await;
        let listener = container.client().listen(3128).await.expect("it listens");
        listener.set_nonblocking(false).expect("it can");
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines =
                    BufReader::new(stream.try_clone().expect("a copy")).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                // whoever asked may be gone
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy");
                if sender.send(first).is_err() {
                    return;
                }
            }
        });
        let limits = Limits { memory: 3 << 30, cpus: Some(1.5), ..Limits::default() };
        Self { container, asked, limits, registries: ImageRegistries::default() }
    }

    async fn build(
        &self,
        place: &Place,
        build: &ImageBuild,
    ) -> Result<(String, Vec<String>), ContainerError> {
        self.build_within(place, build, ENOUGH).await
    }

    async fn build_within(
        &self,
        place: &Place,
        build: &ImageBuild,
        most_time: Duration,
    ) -> Result<(String, Vec<String>), ContainerError> {
        let proxy =
            ["http_proxy", "HTTP_PROXY"].map(|name| (name.to_owned(), "http://127.0.0.1:3128".to_owned()));
        let config = BuildConfig {
            work_tree: &place.work_tree,
            build,
            registries: &self.registries,
            network: &self.container,
            proxy: &proxy,
            owner: &place.owner,
            task: "task-222222",
            limits: self.limits,
            most_time,
        };
        let mut said = Vec::new();
        let built = engine().await.build(config, |text| said.push(text.to_owned())).await;
        built.map(|id| (id, said))
    }

    /// Containers of the builds in it.
    fn steps(&self) -> Vec<String> {
        let network = format!("container:{}", self.container.id());
        let all = docker(&["ps", "--all", "--quiet", "--no-trunc"]);
        let of = |id: &&str| docker(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", id]) == network;
        all.lines().filter(of).map(str::to_owned).collect()
    }
}

fn written(place: &Place, name: &str, text: &str) {
    std::fs::write(place.work_tree.join(name), text).expect("written");
}

fn dockerfile() -> ImageBuild {
    ImageBuild { dockerfile: "Dockerfile".to_owned(), ..ImageBuild::default() }
}

#[tokio::test]
async fn a_dockerfile_becomes_an_image_whose_steps_had_the_proxy_and_nothing_else() {
    let Some(image) = image() else { return };
    let place = Place::new("built");
    let network = Network::start(&place, &image, &["key"]).await;
    written(&place, "key", "a secret");
    written(&place, "file", "of the repository");
    written(&place, "left", "out");
    written(&place, ".dockerignore", "left\n");
    let fetch = "import urllib.request as u; print(u.urlopen(\"http://192.0.2.1/it\").read().decode())";
    let direct = "import socket; socket.create_connection((\"192.0.2.1\", 80), 2)";
    let memory = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max";
    let text = format!(
        "ARG BASE\nFROM ${{BASE}} AS first\nARG WORD\nENV KEPT=kept\nCOPY . /context\n\
         RUN python3 -c '{fetch}' > /fetched && echo $WORD > /word\n\
         RUN ! python3 -c '{direct}' 2> /direct\nRUN tail -n +3 /proc/net/dev | cut -d: -f1 > /interfaces\n\
         RUN cat {memory} > /memory 2>/dev/null || true\nFROM first\nRUN exit 7\n"
    );
    written(&place, "Dockerfile", &text);
    let args =
        BTreeMap::from([("BASE", image.as_str()), ("WORD", "a word"), ("http_proxy", "http://10.0.0.1:1")]);
    let build = ImageBuild {
        target: Some("first".to_owned()),
        args: args.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..dockerfile()
    };
    let (id, said) =
        network.build(&place, &build).await.unwrap_or_else(|error| panic!("it is built: {error}"));
    assert!(said.iter().any(|line| line.starts_with("building: Step 1/")), "{said:?}");
    assert_eq!(
        network.asked.recv_timeout(LONG).expect("it came by the proxy"),
        "GET http://192.0.2.1/it HTTP/1.1"
    );
    assert_eq!(network.asked.try_iter().count(), 0);
    let (again, said) = network.build(&place, &build).await.expect("it is there");
    assert_eq!((again, said.len()), (id.clone(), 0));
    written(&place, "file", "another");
    let (other, _) = network.build(&place, &build).await.expect("it is built");
    assert_ne!(other, id);
    assert_eq!(network.steps(), Vec::<String>::new());
    network.container.stop().await;
    let engine = engine().await;
    let mut built = engine.builds(&place.owner).await.expect("it answers").into_iter().map(|built| built.id);
    assert!(
        built.any(|built| built == id)
            && engine.snapshots(&place.owner).await.expect("it answers").is_empty()
    );
    engine.remove_image(&other).await.expect("it goes");
    assert!(
        !docker(&["inspect", &id]).contains("127.0.0.1:3128"),
        "the proxy is of the build and not of the image"
    );

    let work = start(place.config(&id)).await;
    let seen =
        succeeds(&work, "cat /fetched /word; echo $KEPT; ls -A /context; cat /context/file /interfaces")
            .await;
    let seen: Vec<_> = seen.split_whitespace().collect();
    let expected = [
        "proxy",
        "a",
        "word",
        "kept",
        ".dockerignore",
        "Dockerfile",
        "file",
        "of",
        "the",
        "repository",
        "lo",
    ];
    assert_eq!(seen, expected);
    assert_eq!(succeeds(&work, "cat /memory").await.trim(), (3u64 << 30).to_string());
    assert!(succeeds(&work, "cat /direct").await.contains("Network is unreachable"));
    work.stop().await;
}

#[tokio::test]
async fn a_build_that_fails_shows_its_last_lines_and_leaves_no_container() {
    let Some(image) = image() else { return };
    let place = Place::new("fails");
    let network = Network::start(&place, &image, &[]).await;
    written(&place, "Dockerfile", &format!("FROM {image}\nRUN echo some$((1 + 1))words; exit 7\n"));
    let error = network.build(&place, &dockerfile()).await.expect_err("it fails").to_string();
    // what it says, and not the step itself, which the engine repeats
    assert!(
        error.contains("the image of `Dockerfile` cannot be built") && error.contains("some2words"),
        "{error}"
    );
    assert!(error.contains("non-zero code: 7"), "{error}");
    written(&place, "Dockerfile", &format!("FROM {image}\nRUN echo waiting; sleep 600\n"));
    let late = network.build_within(&place, &dockerfile(), Duration::from_secs(3)).await;
    let late = late.expect_err("it takes too long").to_string();
    assert!(late.contains("it takes longer than 3 s"), "{late}");
    eventually("the step is gone", async || network.steps().is_empty()).await;
    network.container.stop().await;
}

#[tokio::test]
async fn a_step_with_too_many_processes_or_too_much_on_the_disk_ends_the_build_and_names_the_limit() {
    let Some(image) = image() else { return };
    let place = Place::new("greedy");
    let mut network = Network::start(&place, &image, &[]).await;
    network.limits.processes = 40;
    let sleepers =
        |count: u32| format!("for n in $(seq {count}); do sleep 600 & done; sleep 2; echo so many");
    written(&place, "Dockerfile", &format!("FROM {image}\nRUN {}\n", sleepers(20)));
    network.build(&place, &dockerfile()).await.unwrap_or_else(|error| panic!("it is within it: {error}"));
    for (step, limit) in [
        (format!("{}; sleep 600", sleepers(80)), "a step reached the limit processes = 40"),
        // in small pieces, as packages are
        (
            "mkdir /big; while :; do n=$((n+1)); head -c 4M /dev/zero >/big/$n; test $n -lt 40 || sleep 600; done"
                .to_owned(),
            "a step reached the limit disk_bytes = 67108864",
        ),
    ] {
        written(&place, "Dockerfile", &format!("FROM {image}\nRUN {step}\n"));
        let error = network.build(&place, &dockerfile()).await.expect_err("it has too much").to_string();
        assert!(error.contains(limit), "{error}");
        eventually("the step is gone", async || network.steps().is_empty()).await;
    }
    network.container.stop().await;
}

#[tokio::test]
async fn nothing_of_a_dockerfile_is_fetched_by_the_engine_from_the_hosts_network() {
    let Some(image) = image() else { return };
    let place = Place::new("added");
    let network = Network::start(&place, &image, &[]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it can");
    let address = listener.local_addr().expect("it has one");
    let trigger = format!("sortie-test-trigger:{}", std::process::id());
    let made = docker(&["create", &image, "true"]);
    docker(&["commit", "--change", &format!("ONBUILD ADD http://{address}/ /x"), &made, &trigger]);
    docker(&["rm", &made]);
    for (text, word) in [
        (format!("FROM {image}\nADD http://{address}/ /x\n"), "ADD takes plain paths alone"),
        (format!("FROM {image}\nARG U=http://{address}/\nAD\\\nD $U /x\n"), "ADD takes plain paths alone"),
        // which is no directive to the builder, so that a line goes on
        (
            format!("# a comment\n# escape=`\nFROM {image}\nAD\\\nD http://{address}/ /x\n"),
            "has to be the first line",
        ),
        (format!("FROM {image}\nRUN echo \\\\\nADD http://{address}/ /x\n"), "that goes on, twice"),
        (format!("FROM {image} AS a\nONBU\u{130}LD ADD http://{address}/ /x\nFROM a\n"), "is no instruction"),
        (format!("FROM {trigger}\n"), "ADD takes plain paths alone"),
        ("FROM sortie-no-such-image:1\n".to_owned(), "`sortie-no-such-image:1`"),
        ("RUN true\n".to_owned(), "it has no FROM"),
    ] {
        written(&place, "Dockerfile", &text);
        let error = network.build(&place, &dockerfile()).await.expect_err(&text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(listener.accept().is_err(), "nobody came");
    docker(&["rmi", &trigger]);
    network.container.stop().await;
}

#[tokio::test]
async fn what_a_dockerfile_starts_from_is_a_name_of_a_registry_that_is_listed_and_nothing_that_a_task_made() {
    let Some(image) = image() else { return };
    let place = Place::new("named");
    let mut network = Network::start(&place, &image, &[]).await;
    let (sender, asked) = channel();
    let registry = Registry::new("named", None).serve(move |_| {
        // whoever counts may have gone
        let _ = sender.send(());
    });
    let id = docker(&["inspect", "--format", "{{.Id}}", &image]);
    let digits = id.trim_start_matches("sha256:");
    // decimal digits alone would be the number of a stage
    let letter = digits.find(|digit: char| digit.is_ascii_lowercase()).expect("64 digits have a letter");
    let prefix = digits[..=letter.max(12)].to_owned();
    let made = format!("sortie-test-made:{}", std::process::id());
    let container = docker(&["create", &image, "true"]);
    docker(&["commit", "--change", &format!("LABEL dev.sortie.owner={}", place.owner), &container, &made]);
    docker(&["rm", &container]);
    let there = format!("{registry}/there:1");
    for (named, word) in [
        (&there, "image_registries = ["),
        (&prefix, "as an id and not as a name"),
        (&id, "is no name that all engines read alike"),
        (&made, "(`dev.sortie.owner`)"),
    ] {
        for text in [
            format!("FROM {named}\nLABEL a=b\n"),
            format!("ARG B={named}\nFROM {image} AS first\nFROM $B AS last\n"),
            format!("FROM {image}\nCOPY --from={named} /bin/sh /copied\n"),
        ] {
            written(&place, "Dockerfile", &text);
            let error = network.build(&place, &dockerfile()).await.expect_err(&text).to_string();
            assert!(error.contains(named.as_str()) && error.contains(word), "{text}: {error}");
        }
    }
    assert_eq!(asked.try_iter().count(), 0, "nobody came");
    network.registries = ImageRegistries::try_from(vec![registry]).expect("it is one");
    written(&place, "Dockerfile", &format!("FROM {there}\nCOPY --from=127.0.0.1:1/x:1 /x /y\n"));
    let error = network.build(&place, &dockerfile()).await.expect_err("one is not listed").to_string();
    assert!(error.contains("`127.0.0.1:1/x:1`"), "{error}");
    assert_eq!(asked.try_iter().count(), 0, "nobody comes before all of them may be named");
    written(&place, "Dockerfile", &format!("FROM {there}\nLABEL a=b\n"));
    network.build(&place, &dockerfile()).await.unwrap_or_else(|error| panic!("it is listed: {error}"));
    assert_ne!(asked.try_iter().count(), 0, "it was pulled from there");
    docker(&["rmi", &there]);
    network.container.stop().await;
}

#[tokio::test]
async fn stages_after_the_target_are_neither_pulled_nor_checked() {
    let Some(image) = image() else { return };
    let place = Place::new("target");
    let network = Network::start(&place, &image, &[]).await;
    let text =
        format!("FROM {image} AS wanted\nRUN touch /made\nFROM sortie-no-such-image:1\nADD http://a /b\n");
    written(&place, "Dockerfile", &text);
    let build = ImageBuild { target: Some("Wanted".to_owned()), ..dockerfile() };
    network.build(&place, &build).await.unwrap_or_else(|error| panic!("it is built: {error}"));
    let error = network.build(&place, &dockerfile()).await.expect_err("all of it").to_string();
    assert!(error.contains("ADD takes plain paths alone"), "{error}");
    network.container.stop().await;
}

#[tokio::test]
async fn builds_of_the_same_files_are_one_image_whatever_git_keeps_beside_them() {
    let Some(image) = image() else { return };
    let place = Place::new("git");
    let network = Network::start(&place, &image, &[]).await;
    written(&place, "Dockerfile", &format!("FROM {image}\nCOPY . /context\n"));
    std::fs::create_dir(place.work_tree.join(".git")).expect("it is new");
    written(&place, ".git/HEAD", "of one task");
    let (first, _) = network.build(&place, &dockerfile()).await.expect("it is built");
    written(&place, ".git/HEAD", "of another");
    let (second, said) = network.build(&place, &dockerfile()).await.expect("it is there");
    assert_eq!((&second, said.len()), (&first, 0));
    written(&place, "file", "another");
    let (third, _) = network.build(&place, &dockerfile()).await.expect("it is built");
    assert_ne!(third, first);
    network.container.stop().await;
}

#[tokio::test]
async fn an_image_without_files_is_made_once() {
    if image().is_none() {
        return;
    }
    let place = Place::new("blank");
    let engine = engine().await;
    let id = engine.blank(&place.owner).await.expect("it is made");
    assert_eq!(engine.blank(&place.owner).await.expect("it is there"), id);
    assert_eq!(docker(&["inspect", "--format", "{{.Size}}", &id]), "0");
    let Some(init) = std::env::var_os("SORTIE_TEST_INIT") else {
        eprintln!("no more: SORTIE_TEST_INIT names no init that runs without files");
        return;
    };
    let init = std::fs::read(init).expect("it is there").into();
    let container = start(ContainerConfig { init, root: false, ..place.set_up(&id) }).await;
    container.client().listen(3128).await.expect("it listens");
    container.stop().await;
}

#[tokio::test]
async fn the_time_of_a_build_counts_from_what_it_pulls() {
    let Some(image) = image() else { return };
    let place = Place::new("pulls");
    let mut network = Network::start(&place, &image, &[]).await;
    // it is called, and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let registry = silent.local_addr().expect("it has one").to_string();
    network.registries = ImageRegistries::try_from(vec![registry.clone()]).expect("it is one");
    written(&place, "Dockerfile", &format!("FROM {registry}/there:1\n"));
    let error = network.build_within(&place, &dockerfile(), Duration::from_secs(1)).await;
    let error = error.expect_err("nobody answers").to_string();
    assert!(error.contains("it takes longer than 1 s"), "{error}");
    network.container.stop().await;
}
