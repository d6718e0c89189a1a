//! TLS towards servers.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use sortie_policy::ports::{ErrorCode, PortError};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::target::Target;

/// This machine has no certificate authorities.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "no certificate authorities are installed on this machine, so https cannot be checked; install `ca-certificates` or set SSL_CERT_FILE"
)]
pub struct NoRoots;

/// A client that trusts these roots and speaks HTTP/1.1 over TLS 1.2 or 1.3.
pub fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring serves TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A client that trusts the roots of this machine (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` are honoured).
pub(super) fn system() -> Result<Arc<ClientConfig>, NoRoots> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate authority cannot be loaded");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(NoRoots) } else { Ok(client_config(roots)) }
}

/// Speaks TLS on a connection; the certificate must be for the target's host.
pub(super) async fn secure<S>(
    config: Arc<ClientConfig>,
    target: &Target,
    stream: S,
) -> Result<TlsStream<S>, PortError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let failed = |why: String| PortError::new(ErrorCode::Unavailable, format!("no TLS with {target}: {why}"));
    let name = rustls::pki_types::ServerName::try_from(target.host.clone());
    let name = name.map_err(|error| failed(error.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(error.to_string()))
}
