//! The environment of commands in a sandbox. Nothing of the host's own environment is passed on.

use std::collections::BTreeMap;

use super::SandboxConfig;

/// The work tree inside.
pub const WORKSPACE: &str = "/workspace";

/// The home inside.
pub const HOME: &str = "/home/agent";

/// Where the certificate authorities lie inside.
pub(super) const CERTIFICATES: &str = "/.sortie/certificates.pem";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that commands install for themselves.
const OWN_PROGRAMS: [&str; 3] = [".local/bin", ".cargo/bin", "go/bin"];

/// How the programs we know are told which authorities to trust.
const TRUST: [&str; 8] = [
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

pub(super) fn variables(config: &SandboxConfig) -> Vec<(String, String)> {
    let mut variables: BTreeMap<String, String> = config.toolchains.variables.clone();
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    set("HOME", HOME);
    set("USER", "agent");
    set("LOGNAME", "agent");
    set("SHELL", "/bin/sh");
    set("LANG", "C.UTF-8");
    set("TMPDIR", "/tmp");
    set("CARGO_HOME", &format!("{HOME}/.cargo"));
    set("GOPATH", &format!("{HOME}/go"));
    set("PATH", &path(config));
    if config.certificates.is_some() {
        for name in TRUST {
            set(name, CERTIFICATES);
        }
    }
    variables.into_iter().collect()
}

fn path(config: &SandboxConfig) -> String {
    let own = OWN_PROGRAMS.map(|folder| format!("{HOME}/{folder}"));
    let tools = config.toolchains.path.iter().filter_map(|folder| folder.to_str().map(str::to_owned));
    let mut folders: Vec<String> = own.into_iter().chain(tools).collect();
    for folder in PATH.split(':') {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders.join(":")
}
