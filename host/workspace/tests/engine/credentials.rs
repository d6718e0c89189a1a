//! Pulling from a registry that asks who one is.

use std::io::Write as _;
use std::process::Command;
use std::sync::mpsc::channel;

use sortie_workspace::container::NamedBy;

use crate::registry::Registry;
use crate::support::{docker, engine, image, program};

/// A password whose form in a header has letters that the usual alphabet spells otherwise.
const PASSWORD: &str = "p~?>~?>~?>word";

fn base64(text: &str) -> String {
    let mut child = Command::new("base64");
    child.arg("--wrap=0").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().expect("the command is there");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("it is text")
}

/// Pulls in a process of its own: where credentials are is said by the environment.
#[tokio::test]
#[ignore = "a part of the next one"]
async fn an_image_is_pulled_as_the_environment_says() {
    let Ok(name) = std::env::var("SORTIE_TEST_PULLS") else { return };
    let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    all.with_writer(std::io::stderr).init();
    tracing::trace!("all of it is logged");
    match engine().await.pull(&name, &NamedBy::Operator, |_| ()).await {
        Ok(()) => println!("it was pulled"),
        Err(error) => println!("{error}\n{error:?}"),
    }
}

#[test]
fn a_private_image_is_pulled_with_what_the_engines_client_has_and_nothing_shows_it() {
    if image().is_none() {
        return;
    }
    let basic = base64(&format!("me:{PASSWORD}"));
    let (sender, asked) = channel();
    let address = Registry::new("asked", Some(basic.clone())).serve(move |is_known| {
        // whoever counts may have gone
        let _ = sender.send(is_known);
    });
    let folder = tempfile::tempdir().expect("a folder");
    let name = format!("{address}/there:1");
    let pull = |settings: &str| {
        std::fs::write(folder.path().join("config.json"), settings).expect("written");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let test = "credentials::an_image_is_pulled_as_the_environment_says";
        let output = Command::new("/proc/self/exe")
            .args([test, "--exact", "--ignored", "--nocapture"])
            .envs([("SORTIE_TEST_PULLS", name.as_str()), ("PATH", &path)])
            .env("DOCKER_CONFIG", folder.path())
            .env_remove("DOCKER_CONTEXT")
            .output()
            .expect("it runs");
        docker(&["rmi", "--force", &name]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("all of it is logged"), "control: {said}");
        assert!(!said.contains(PASSWORD) && !said.contains(&basic), "{said}");
        said
    };
    let helper = folder.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread registry\ntest \"$1 $registry\" = \"get {address}\" || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"{PASSWORD}\"}}'\n"
    );
    program(&helper, script.as_bytes());
    for settings in [
        format!(r#"{{"auths": {{"{address}": {{"auth": "{basic}"}}}}}}"#),
        format!(r#"{{"auths": {{"http://{address}/v1/": {{"auth": "{basic}"}}}}}}"#),
        r#"{"credsStore": "test"}"#.to_owned(),
        format!(r#"{{"credsStore": "none", "credHelpers": {{"{address}": "test"}}}}"#),
    ] {
        let said = pull(&settings);
        assert!(said.contains("it was pulled"), "{settings}: {said}");
        assert!(asked.try_iter().any(|known| known), "{settings}: by its user");
    }
    for (settings, word) in [
        ("{}".to_owned(), "cannot be had"),
        (
            format!(r#"{{"auths": {{"{address}": {{"username": "me", "password": "wrong-s3cr3t"}}}}}}"#),
            "cannot be had",
        ),
        (r#"{"credsStore": "none"}"#.to_owned(), "`docker-credential-none` does not start"),
        ("{".to_owned(), "config.json: line 1 is not as expected"),
    ] {
        let said = pull(&settings);
        assert!(said.contains(word) && !said.contains("wrong-s3cr3t"), "{settings}: {said}");
    }
}
