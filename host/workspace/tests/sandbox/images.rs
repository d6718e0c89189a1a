//! Pulling, from a registry of the test's own: loopback ones need no certificate.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use sortie_core::digest::Digest;
use sortie_workspace::container::Engine;

use crate::containers;

/// An image without a file.
struct Registry {
    manifest: String,
    blobs: [Vec<u8>; 2],
}

impl Registry {
    fn new() -> Self {
        // an empty archive
        let layer = vec![0; 1024];
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["WORD=pulled-{}"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            std::process::id(),
            Digest::of(&layer)
        )
        .into_bytes();
        let described = |kind: &str, blob: &[u8]| {
            let (size, digest) = (blob.len(), Digest::of(blob));
            format!(r#"{{"mediaType":"{kind}","size":{size},"digest":"sha256:{digest}"}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[{}]}}"#,
            described("application/vnd.docker.container.image.v1+json", &config),
            described("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer),
        );
        Self { manifest, blobs: [config, layer] }
    }

    /// Answers one request. Ends with the connection.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let path = first.split(' ').nth(1).unwrap_or_default();
        let blob = self.blobs.iter().find(|blob| path.ends_with(&Digest::of(blob).to_string()));
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let (status, kind, body) = match (path, blob) {
            ("/v2/", _) => ("200 OK", "application/json", &b"{}"[..]),
            (_, Some(blob)) => ("200 OK", "application/octet-stream", blob.as_slice()),
            (path, None) if path.contains("/there/manifests/") => ("200 OK", kind, self.manifest.as_bytes()),
            _ => ("404 Not Found", "application/json", &br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#[..]),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: sha256:{}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
            body.len(),
            Digest::of(body)
        )?;
        if !first.starts_with("HEAD") {
            stream.write_all(body)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_is_pulled_by_tag_or_digest_and_one_that_is_none_is_named() {
    if containers::image().is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let registry = Registry::new();
    let digest = Digest::of(registry.manifest.as_bytes());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // the engine hangs up when it has what it wants
            let _ = registry.answer(stream);
        }
    });
    let engine = Engine::connect().await.expect("there is one");
    let remove =
        |name: &str| Command::new("docker").args(["rmi", "--force", name]).output().expect("it is there");
    for name in [format!("{address}/there:1"), format!("{address}/there@sha256:{digest}")] {
        let mut said = Vec::new();
        engine.pull(&name, |text| said.push(text.to_owned())).await.expect("it is there");
        assert!(said.iter().any(|text| text.starts_with("pulling ")), "{said:?}");
        said.clear();
        engine.pull(&name, |text| said.push(text.to_owned())).await.expect("it was pulled");
        assert!(said.is_empty(), "it was there: {said:?}");
        remove(&name);
    }
    let absent = format!("{address}/absent:1");
    let error = engine.pull(&absent, |_| ()).await.expect_err("it is not there").to_string();
    assert!(error.contains(&absent) && error.contains("hint: "), "{error}");
    let error = engine.pull("a b", |_| ()).await.expect_err("it is no name").to_string();
    assert!(error.contains("cannot be had"), "{error}");
}
