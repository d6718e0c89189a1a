//! Remotes over https that lead elsewhere.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sortie_delivery::Mirrors;
use sortie_policy::ports::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Ground, Task, git, write};

/// Two servers of one certificate: one has the ground's files, and one leads
/// to the same path of the other.
struct Forges {
    ground: Ground,
    files: u16,
    leading: u16,
    /// Paths that the first was asked for.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Forges {
    async fn start() -> Self {
        let ground = Ground::with(&[("a", "1\n")]);
        git(&ground.origin(), &["update-server-info"]);
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        write(ground.path(), "ca.pem", key.cert.pem());
        let der = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring serves them")
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], der)
            .expect("the key is its own");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, root) = (Arc::clone(&seen), ground.path().to_owned());
        let files = serve(acceptor.clone(), move |path| {
            kept.lock().expect("no test panics with it").push(path.to_owned());
            file(root.join(path.split('?').next().unwrap_or(path)))
        })
        .await;
        let leading = serve(acceptor, move |path| {
            let location = format!("https://localhost:{files}/{path}");
            format!(
                "HTTP/1.1 301 Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .into_bytes()
        })
        .await;
        Self { ground, files, leading, seen }
    }

    /// A task on the repository of the server at this port.
    fn task(&self, port: u16) -> Task {
        let folder = self.ground.path();
        Task::on(&self.ground, &format!("https://localhost:{port}/origin.git"), |config| {
            config.deliver = false;
            config.mirrors = Some(Mirrors::new(&folder.join("home")));
            config.host_repository = folder.join(format!("task-{port}.git"));
            config.environment.push(("GIT_SSL_CAINFO".into(), folder.join("ca.pem").into()));
        })
    }
}

fn file(path: PathBuf) -> Vec<u8> {
    let (status, body) = fs::read(path).map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.into_bytes(), body].concat()
}

/// Answers each request with what `answer` makes of its path; the port.
async fn serve(acceptor: TlsAcceptor, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
            let _ = stream.write_all(&answer(&path)).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_redirects_is_not_followed() {
    let forges = Forges::start().await;
    let error = forges.task(forges.leading).fetch().await.expect_err("leads elsewhere");
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    assert!(error.message.contains("name the URL that it leads to"), "{error}");
    assert_eq!(*forges.seen.lock().expect("no test panics with it"), Vec::<String>::new());
    // the place itself may be named
    let base = forges.task(forges.files).fetch().await.expect("is fetched");
    assert_eq!(base, forges.ground.in_origin(&["rev-parse", "main"]));
}
