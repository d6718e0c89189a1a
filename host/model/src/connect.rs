//! From the name of a model to the model.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use reqwest::redirect;
use sortie_core::Secret;
use sortie_policy::Seal;
use sortie_policy::ports::Model;

use crate::endpoint::Endpoint;
use crate::environment::Environment;
use crate::options::Options;
use crate::remote::Remote;
use crate::scripted::{ScriptError, Scripted};
use crate::spec::{ModelSpec, Provider};
use crate::wire::{Anthropic, Chat, Responses, Wire};

const OPENAI: &str = "https://api.openai.com/v1";
const ANTHROPIC: &str = "https://api.anthropic.com";

/// Why a model cannot be used. All of it is for the user to set right.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The provider's own address takes no request without a key.
    #[error(
        "no key for the model provider `{provider}`: set {key_variable}, \
         or {url_variable} for a server that wants none"
    )]
    MissingKey {
        /// The provider.
        provider: Provider,
        /// The variable that holds the key.
        key_variable: &'static str,
        /// The variable that names another server.
        url_variable: &'static str,
    },
    /// No header can carry the key.
    #[error("{0} holds characters that a key cannot have")]
    Key(&'static str),
    /// A base URL is not one.
    #[error("{variable} is not a base URL: {reason}")]
    BaseUrl {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The key would go out in clear text.
    #[error(
        "{key_variable} would be sent to {origin} without encryption: use https, unset the key, \
         or set SORTIE_KEY_OVER_HTTP=1 if that network is trusted with it"
    )]
    KeyOverHttp {
        /// The variable that holds the key.
        key_variable: &'static str,
        /// Where the key would go.
        origin: String,
    },
    /// The HTTP client cannot be set up, for example because the system has
    /// no root certificates.
    #[error("the HTTP client for models cannot be set up: {0}")]
    Client(String),
    /// The script cannot be used.
    #[error("the script {file} cannot be used: {source}")]
    Script {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: ScriptError,
    },
}

/// A provider's variables and its own address.
struct Account<'a> {
    key: Option<&'a Secret>,
    key_variable: &'static str,
    base_url: Option<&'a str>,
    url_variable: &'static str,
    own: &'static str,
}

impl<'a> Account<'a> {
    fn openai(environment: &'a Environment) -> Self {
        Self {
            key: environment.openai_api_key.as_ref(),
            key_variable: "OPENAI_API_KEY",
            base_url: environment.openai_base_url.as_deref(),
            url_variable: "OPENAI_BASE_URL",
            own: OPENAI,
        }
    }

    fn anthropic(environment: &'a Environment) -> Self {
        Self {
            key: environment.anthropic_api_key.as_ref(),
            key_variable: "ANTHROPIC_API_KEY",
            base_url: environment.anthropic_base_url.as_deref(),
            url_variable: "ANTHROPIC_BASE_URL",
            own: ANTHROPIC,
        }
    }

    fn endpoint(&self, provider: Provider, key_over_http: bool) -> Result<Endpoint, ConnectError> {
        let (key_variable, url_variable) = (self.key_variable, self.url_variable);
        let endpoint = Endpoint::parse(self.base_url.unwrap_or(self.own))
            .map_err(|reason| ConnectError::BaseUrl { variable: url_variable, reason })?;
        if self.key.is_none() && self.base_url.is_none() {
            return Err(ConnectError::MissingKey { provider, key_variable, url_variable });
        }
        let stays_private = endpoint.is_encrypted() || endpoint.is_loopback() || key_over_http;
        if self.key.is_some() && !stays_private {
            return Err(ConnectError::KeyOverHttp { key_variable, origin: endpoint.origin() });
        }
        Ok(endpoint)
    }
}

/// Makes the model that a spec names. Nothing is sent yet.
///
/// Each provider has its own address unless the environment names a base URL.
/// Its own address wants a key; another one may do without. Over `http://` a
/// key goes to loopback addresses alone, unless
/// [`key_over_http`](Environment::key_over_http) is set. The system's proxies
/// and root certificates are used; loopback addresses are reached directly.
///
/// Permits must bear `seal`.
///
/// # Errors
/// If a key is missing or unfit, a base URL is wrong, the system has no root
/// certificates, or a script is not one.
pub fn connect(
    spec: &ModelSpec,
    environment: &Environment,
    options: Options,
    seal: Seal,
) -> Result<Arc<dyn Model>, ConnectError> {
    let account = match spec.provider() {
        Provider::OpenAi | Provider::OpenAiChat => Account::openai(environment),
        Provider::Anthropic => Account::anthropic(environment),
        Provider::Scripted => {
            let script = Scripted::open(spec.name(), seal)
                .map_err(|source| ConnectError::Script { file: spec.name().to_owned(), source })?;
            return Ok(Arc::new(script));
        }
    };
    let endpoint = account.endpoint(spec.provider(), environment.key_over_http)?;
    let wire: Box<dyn Wire> = match spec.provider() {
        Provider::OpenAi => Box::new(Responses::default()),
        Provider::OpenAiChat => Box::new(Chat::new(account.base_url.is_none())),
        _ => Box::new(Anthropic),
    };
    let mut headers = wire.headers(account.key).map_err(|_| ConnectError::Key(account.key_variable))?;
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("sortie/", env!("CARGO_PKG_VERSION"))));
    let client = client(&endpoint, &options)?;
    let key = account.key.cloned();
    Ok(Arc::new(Remote::new(wire, endpoint, spec.name(), client, headers, key, options, seal)))
}

fn client(endpoint: &Endpoint, options: &Options) -> Result<reqwest::Client, ConnectError> {
    // fails if another part of the process installed a provider, which then serves
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "sends model requests, for permits")]
    let mut client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.timeouts.connect)
        .tcp_keepalive(std::time::Duration::from_secs(30));
    if endpoint.is_loopback() {
        client = client.no_proxy();
    }
    if !endpoint.is_encrypted() && endpoint.is_loopback() {
        // no certificate will be looked at: spares reading the system's
        client = client.tls_certs_only([]);
    }
    client.build().map_err(|error| ConnectError::Client(crate::remote::chain(&error)))
}
