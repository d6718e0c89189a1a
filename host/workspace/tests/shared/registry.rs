//! A registry on this machine, with one image that has no file. Engines want no certificate of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use sortie_core::digest::Digest;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const JSON: &str = "application/json";

/// The image, and who may pull it.
pub(crate) struct Registry {
    manifest: String,
    blobs: [Vec<u8>; 2],
    /// Name and password, as a header has them; none for everybody.
    user: Option<String>,
}

impl Registry {
    /// `word` makes the image one of its own.
    pub(crate) fn new(word: &str, user: Option<String>) -> Self {
        // an empty archive
        let layer = vec![0; 1024];
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["WORD={word}-{}"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            std::process::id(),
            Digest::of(&layer)
        )
        .into_bytes();
        let described = |kind: &str, blob: &[u8]| {
            let (size, digest) = (blob.len(), Digest::of(blob));
            format!(r#"{{"mediaType":"{kind}","size":{size},"digest":"sha256:{digest}"}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            described("application/vnd.docker.container.image.v1+json", &config),
            described("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer),
        );
        Self { manifest, blobs: [config, layer], user }
    }

    /// What its manifest is called by, after `sha256:`.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.manifest.as_bytes())
    }

    /// Serves it, and returns where. The image is called `there:1`. `heard` is told of each
    /// request whether it came from its user.
    pub(crate) fn serve(self, heard: impl Fn(bool) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // the engine hangs up when it has what it wants
                let _ = self.answer(stream, &heard);
            }
        });
        address
    }

    /// Answers one request. Ends with the connection.
    fn answer(&self, mut stream: TcpStream, heard: &impl Fn(bool)) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut is_known = self.user.is_none();
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            let user = self.user.as_ref().map(|user| format!("authorization: basic {user}"));
            is_known |= user.is_some_and(|user| line.eq_ignore_ascii_case(&user));
        }
        heard(is_known);
        let path = first.split(' ').nth(1).unwrap_or_default();
        let names = ["1".to_owned(), format!("sha256:{}", self.digest())];
        let is_there = names.iter().any(|name| path.ends_with(&format!("/there/manifests/{name}")));
        let blob = self.blobs.iter().find(|blob| path.ends_with(&Digest::of(blob).to_string()));
        let (status, kind, body) = match (path, blob) {
            _ if !is_known => ("401 Unauthorized", JSON, &br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#[..]),
            ("/v2/", _) => ("200 OK", JSON, &b"{}"[..]),
            (_, Some(blob)) => ("200 OK", "application/octet-stream", blob.as_slice()),
            _ if is_there => ("200 OK", MANIFEST, self.manifest.as_bytes()),
            _ => ("404 Not Found", JSON, &br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#[..]),
        };
        let asks = if self.user.is_some() { "WWW-Authenticate: Basic realm=\"test\"\r\n" } else { "" };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: sha256:{}\r\n\
             {asks}Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
            body.len(),
            Digest::of(body)
        )?;
        if !first.starts_with("HEAD") {
            stream.write_all(body)?;
        }
        Ok(())
    }
}
