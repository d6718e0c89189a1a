//! Pulling from a registry that asks who one is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use sortie_core::digest::Digest;

use crate::support::{docker, engine, image};

/// A password whose form in a header has letters that the usual alphabet spells otherwise.
const PASSWORD: &str = "p~?>~?>~?>word";

/// A registry with one image without files, for one user.
fn answer(mut stream: TcpStream, basic: &str, asked: &Sender<bool>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut is_known = false;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        is_known |= line.eq_ignore_ascii_case(&format!("authorization: basic {basic}"));
    }
    // whoever counts may have gone
    let _ = asked.send(is_known);
    let layer = vec![0; 1024];
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["WORD=asked-{}"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        std::process::id(),
        Digest::of(&layer)
    )
    .into_bytes();
    let described = |kind: &str, blob: &[u8]| {
        format!(r#"{{"mediaType":"{kind}","size":{},"digest":"sha256:{}"}}"#, blob.len(), Digest::of(blob))
    };
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{},"layers":[{}]}}"#,
        described("application/vnd.docker.container.image.v1+json", &config),
        described("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer),
    );
    let path = first.split(' ').nth(1).unwrap_or_default();
    let blob = [config, layer].into_iter().find(|blob| path.ends_with(&Digest::of(blob).to_string()));
    let (status, kind, body) = match (is_known, blob) {
        (false, _) => {
            ("401 Unauthorized", "application/json", br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#.to_vec())
        }
        (true, Some(blob)) => ("200 OK", "application/octet-stream", blob),
        (true, None) if path.contains("/manifests/") => ("200 OK", kind, manifest.into_bytes()),
        _ => ("200 OK", "application/json", b"{}".to_vec()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: sha256:{}\r\n\
         WWW-Authenticate: Basic realm=\"test\"\r\nDocker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
        body.len(),
        Digest::of(&body)
    )?;
    if !first.starts_with("HEAD") {
        stream.write_all(&body)?;
    }
    Ok(())
}

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
    match engine().await.pull(&name, |_| ()).await {
        Ok(()) => println!("it was pulled"),
        Err(error) => println!("{error}\n{error:?}"),
    }
}

#[test]
fn a_private_image_is_pulled_with_what_the_engines_client_has_and_nothing_shows_it() {
    if image().is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one").to_string();
    let basic = base64(&format!("me:{PASSWORD}"));
    let (sender, asked) = channel();
    let expected = basic.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // the engine hangs up when it has what it wants
            let _ = answer(stream, &expected, &sender);
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let name = format!("{address}/private:1");
    let pull = |settings: &str| {
        std::fs::write(folder.path().join("config.json"), settings).expect("written");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let test = "credentials::an_image_is_pulled_as_the_environment_says";
        let output = Command::new("/proc/self/exe")
            .args([test, "--exact", "--ignored", "--nocapture"])
            .envs([("SORTIE_TEST_PULLS", name.as_str()), ("PATH", &path), ("RUST_LOG", "trace")])
            .env("DOCKER_CONFIG", folder.path())
            .env_remove("DOCKER_CONTEXT")
            .output()
            .expect("it runs");
        docker(&["rmi", "--force", &name]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(PASSWORD) && !said.contains(&basic), "{said}");
        said
    };
    let helper = folder.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread registry\ntest \"$1 $registry\" = \"get {address}\" || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"{PASSWORD}\"}}'\n"
    );
    std::fs::write(&helper, script).expect("written");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("set");
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
