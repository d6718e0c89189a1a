//! A server over https on loopback, with a certificate that a test trusts or not.

#![expect(clippy::disallowed_methods, reason = "a test's own server on loopback")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate for one name, signed by itself, and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    /// A new one for this name.
    ///
    /// # Panics
    /// If the name cannot stand in a certificate.
    pub fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring serves them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is its own");
        Self { certificate, pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The certificate, for whoever is to trust it.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same as text, for a file of trusted ones.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Starts a server under this certificate that answers each request, by its path without the first slash, and
    /// then closes. It ends with the test's runtime.
    ///
    /// # Panics
    /// If loopback has no port left.
    pub async fn serve(&self, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let (acceptor, answer) = (self.acceptor.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                tokio::spawn(async move { respond(acceptor, stream, &*answer).await });
            }
        });
        address
    }
}

/// One request. Whoever breaks off is not answered.
async fn respond(acceptor: TlsAcceptor, stream: TcpStream, answer: &(impl Fn(&str) -> Vec<u8> + Sync)) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let response = answer(path);
    if stream.write_all(&response).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

/// A response with this status, such as `301 Moved`, further headers, and body.
pub fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let further: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{further}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The file below a folder that a request asks for, whatever its query.
pub fn file(folder: &Path, path: &str) -> Vec<u8> {
    match std::fs::read(folder.join(path.split('?').next().unwrap_or(path))) {
        Ok(body) => response("200 OK", &[], &body),
        Err(_) => response("404 Not Found", &[], b""),
    }
}
