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
    let tools = config.toolchains.path.iter().filter_map(|folder| folder.to_str());
    let path: Vec<_> = tools.chain(PATH.split(':')).collect();
    let certificates = config.certificates.is_some().then_some(CERTIFICATES);
    variables.extend(base_variables(Some(&path.join(":")), certificates));
    variables.into_iter().collect()
}

/// What every workspace sets, whatever it is made of. `path` is where its programs are, if not in the usual
/// places.
pub(crate) fn base_variables(path: Option<&str>, certificates: Option<&str>) -> BTreeMap<String, String> {
    let fixed = [
        ("HOME", HOME.to_owned()),
        ("USER", "agent".to_owned()),
        ("LOGNAME", "agent".to_owned()),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
        ("CARGO_HOME", format!("{HOME}/.cargo")),
        ("GOPATH", format!("{HOME}/go")),
        ("PATH", path_with_own(path.unwrap_or(PATH))),
    ];
    let trust = TRUST.into_iter().filter_map(|name| Some((name, certificates?.to_owned())));
    fixed.into_iter().chain(trust).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The folders of programs, those that commands fill themselves first, each once.
fn path_with_own(path: &str) -> String {
    let mut folders: Vec<String> = OWN_PROGRAMS.map(|folder| format!("{HOME}/{folder}")).into();
    for folder in path.split(':') {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders.join(":")
}
