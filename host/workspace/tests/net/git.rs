//! `git clone` over https from a server of our own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use crate::proxy::Running;
use crate::support::World;

/// A bare repository, served as files over https.
struct Forge {
    folder: TempDir,
    port: u16,
}

impl Forge {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let work = folder.path().join("work");
        std::fs::create_dir(&work).expect("is made");
        std::fs::write(work.join("file"), "from afar").expect("is written");
        for arguments in [
            ["init", "--quiet", "--initial-branch=main", "."].as_slice(),
            &["add", "file"],
            &["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "Begin"],
            &["clone", "--quiet", "--bare", ".", "../origin.git"],
            &["--git-dir=../origin.git", "update-server-info"],
        ] {
            let (ok, text) = git(&work, arguments, &[]).await;
            assert!(ok, "git {arguments:?}: {text}");
        }
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), key.cert.pem()).expect("is written");
        let der = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring serves them")
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], der)
            .expect("the key is its own");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (acceptor, root) = (TlsAcceptor::from(Arc::new(config)), folder.path().to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, root) = (acceptor.clone(), root.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, root).await;
                    }
                });
            }
        });
        Self { folder, port }
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Clones through a proxy; whether it went well, and what git said.
    async fn clone_through(&self, proxy: &Running, name: &str) -> (bool, String) {
        let url = format!("https://{}/origin.git", self.host());
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let proxy = format!("http://{}", proxy.address);
        let variables = [("https_proxy", proxy.as_str()), ("GIT_SSL_CAINFO", &ca)];
        git(self.folder.path(), &["clone", "--quiet", &url, name], &variables).await
    }
}

/// Answers one request with a file below the root.
async fn serve(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, root: PathBuf) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
    let (status, body) = match std::fs::read(root.join(path.trim_start_matches('/'))) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

/// Runs git with nobody's settings.
async fn git(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    command.envs(variables.iter().copied());
    let output = command.output().await.expect("git runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_over_https_from_an_allowed_host_and_from_no_other() {
    let forge = Forge::start().await;
    let allowed = Running::over_loopback(&World::under(&forge.host()));
    let (ok, text) = forge.clone_through(&allowed, "cloned").await;
    assert!(ok, "{text}");
    let file = std::fs::read_to_string(forge.folder.path().join("cloned/file")).expect("it is checked out");
    assert_eq!(file, "from afar");
    let traffic = allowed.proxy.traffic();
    assert!(traffic.requests > 0 && traffic.received > 0 && traffic.refused == 0, "{traffic:?}");
    for rule in ["none", "registries", "forge.localhost", "localhost", "all"] {
        let world = World::under(rule);
        let running = Running::over_loopback(&world);
        let (ok, text) = forge.clone_through(&running, "refused").await;
        assert!(!ok && text.contains("403"), "{rule}: {text}");
        assert!(!forge.folder.path().join("refused").exists(), "{rule}");
        let refused = running.proxy.refused();
        assert_eq!(refused.len(), 1, "{rule}: {refused:?}");
        assert_eq!(refused[0].action, format!("network-connect {}", forge.host()));
        if rule == "all" {
            // a name of this machine's own
            assert_eq!(refused[0].rule.as_deref(), Some("public-addresses"));
        } else {
            assert_eq!(refused[0].reason, format!("the network rule of this phase is `{rule}`"));
            assert!(
                refused[0].remedy.as_deref().is_some_and(|remedy| remedy.contains(&forge.host())),
                "{refused:?}"
            );
        }
    }
}
