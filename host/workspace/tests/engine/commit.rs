//! What a set-up left, as an image.

use std::process::Command;

use sortie_workspace::container::{ContainerConfig, ContainerError, NamedBy};

use crate::support::{Place, docker, engine, image, sh, sh_with, start, succeeds};

/// The parts of an image's settings that a start depends on.
fn settings(image: &str) -> serde_json::Value {
    let text = docker(&["inspect", "--format", "{{json .Config}}", image]);
    let all: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let names = ["Env", "WorkingDir", "Volumes", "Entrypoint", "Cmd", "ExposedPorts", "StopSignal", "User"];
    names
        .iter()
        .map(|name| ((*name).to_owned(), all[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn the_image_of_a_set_up_starts_as_the_original_and_has_nothing_of_mounts_and_variables() {
    let Some(base) = image() else { return };
    let place = Place::new("settings");
    let made = docker(&["create", &base, "true"]);
    let original = format!("sortie-test-original:{}", std::process::id());
    let mut commit = Command::new("docker");
    commit.args(["commit", "--change", "ENV WORD=kept LONG=\"a b $x\"", "--change", "WORKDIR /opt"]);
    commit.args([
        "--change",
        "ENTRYPOINT [\"/bin/false\",\"x\"]",
        "--change",
        "VOLUME /data",
        "--change",
        "USER 7",
    ]);
    commit.args(["--change", "EXPOSE 80", "--change"]);
    commit.args([&format!("LABEL dev.sortie.owner={}", place.owner), &made, &original]);
    assert!(commit.output().expect("the command is there").status.success());
    docker(&["rm", &made]);

    let set_up = start(place.set_up(&original)).await;
    let script = "echo $TOKEN > ~/token; echo $TOKEN > token; echo $TOKEN > /tmp/token; echo $TOKEN > /run/token; touch /opt/x";
    sh_with(&set_up, script, &[("TOKEN", "s3cr3t-of-set-up")]).await;
    let name = format!("sortie-test-snapshot:settings-{}", std::process::id());
    let id = set_up.commit(&name, 1 << 30).await.expect("it is kept");
    let again = set_up.commit(&name, 1 << 30).await.expect("its name is taken over");
    set_up.finish().await.expect("it ends");
    assert!(docker(&["inspect", &id]).starts_with("[]") && id != again, "the one before it is gone");
    assert_eq!(settings(&again), settings(&original));
    let all = docker(&["inspect", &again]) + &docker(&["history", "--no-trunc", &again]);
    assert!(!all.contains("s3cr3t") && !all.contains("TOKEN"), "{all}");

    for file in ["token", "../home/token"] {
        std::fs::remove_file(place.work_tree.join(file)).expect("it is there");
    }
    let work = start(place.config(&again)).await;
    let seen = "echo $WORD $LONG; ls /opt; ls -A /workspace /home/agent /tmp /run; grep -rs s3cr3t /etc /opt /var /root; env";
    let seen = sh(&work, seen).await.stdout;
    assert!(
        seen.starts_with("kept a b\nx\n") && !seen.contains("s3cr3t") && !seen.contains("token"),
        "{seen}"
    );
    work.stop().await;
    docker(&["rmi", &again]);
    docker(&["rmi", &original]);
}

#[tokio::test]
async fn an_image_over_the_bound_is_refused_and_does_not_stay() {
    let Some(image) = image() else { return };
    let place = Place::new("large");
    let set_up = start(place.set_up(&image)).await;
    succeeds(&set_up, "head -c 3000000 /dev/urandom > /opt/large").await;
    let name = format!("sortie-test-snapshot:large-{}", std::process::id());
    let error = set_up.commit(&name, 1_000_000).await.expect_err("it is too large");
    assert!(matches!(error, ContainerError::TooLarge { bytes: 3_000_000.., most: 1_000_000, .. }), "{error}");
    assert_eq!(place.listed(&["images", "--all"]), Vec::<String>::new());
    succeeds(&set_up, "rm /opt/large").await;
    set_up.commit(&name, 1_000_000).await.expect("it is small enough");
    let error = set_up.commit("no name", 1).await.expect_err("it is no name").to_string();
    assert!(error.contains("no name"), "{error}");
    set_up.finish().await.expect("it ends");
}

#[tokio::test]
async fn images_of_set_ups_are_listed_for_their_owner_and_removed() {
    let Some(image) = image() else { return };
    let (place, other) = (Place::new("listed"), Place::new("other"));
    let engine = engine().await;
    let set_up = start(ContainerConfig { root: false, ..place.set_up(&image) }).await;
    succeeds(&set_up, "touch /var/tmp/nothing").await;
    let key = format!("listed-{}", std::process::id());
    let name = format!("sortie-test-snapshot:{key}");
    let id = set_up.commit(&name, 1 << 20).await.expect("it is kept");
    set_up.stop().await;
    let listed = engine.snapshots(&place.owner).await.expect("it answers");
    let [one] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(
        (one.id.as_str(), one.name.as_str(), one.key.as_str()),
        (id.as_str(), name.as_str(), key.as_str())
    );
    assert!(one.bytes < 1 << 20, "{one:?}");
    let age = std::time::SystemTime::now().duration_since(one.created).expect("it was made before");
    assert!(age.as_secs() < 3600, "{age:?}");
    assert_eq!(engine.snapshots(&other.owner).await.expect("it answers"), []);
    assert!(engine.has_image(&id).await.expect("it answers"));
    for _ in 0..2 {
        engine.remove_image(&id).await.expect("it goes, and is gone");
        assert!(!engine.has_image(&id).await.expect("it answers"));
    }
    let base =
        engine.identify(&image, &NamedBy::Operator, |_| ()).await.expect("what it was made from stays");
    assert!(base.starts_with("sha256:") && base.len() == 71, "{base}");
    let gone = engine
        .identify(&id, &NamedBy::Operator, |text| panic!("{text}"))
        .await
        .expect_err("no id is pulled")
        .to_string();
    assert!(gone.contains(&id), "{gone}");
}

#[tokio::test]
async fn the_name_that_somebody_gave_an_image_of_ours_is_not_removed_with_it() {
    let Some(image) = image() else { return };
    let place = Place::new("named");
    let engine = engine().await;
    let set_up = start(ContainerConfig { root: false, ..place.set_up(&image) }).await;
    let name = format!("sortie-test-snapshot:named-{}", std::process::id());
    let id = set_up.commit(&name, 1 << 20).await.expect("it is kept");
    set_up.finish().await.expect("it ends");
    // which comes before ours in any order
    let theirs = format!("a-name-of-the-users:{}", std::process::id());
    docker(&["tag", &id, &theirs]);
    let listed = async || engine.snapshots(&place.owner).await.expect("it answers");
    assert_eq!(listed().await.first().map(|one| one.name.clone()), Some(name.clone()));
    engine.remove_image(&id).await.expect("our name goes");
    assert!(!engine.has_image(&name).await.expect("it answers"));
    assert!(engine.has_image(&theirs).await.expect("it answers"), "it is the user's by now");
    assert_eq!(listed().await, []);
    engine.remove_image(&id).await.expect("there is nothing of ours");
    assert!(engine.has_image(&theirs).await.expect("it answers"));
    docker(&["tag", &id, &name]);
    engine.remove_image(&name).await.expect("it goes by name");
    docker(&["rmi", &theirs]);
    assert!(!engine.has_image(&id).await.expect("it answers"));
}
