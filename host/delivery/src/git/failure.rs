//! What Git says when it fails, as one clear line.

use std::fmt;

use sortie_core::text::{clip, one_line};
use sortie_policy::ports::{ErrorCode, PortError};

use super::Finished;
use crate::source::Address;

/// The calls of Git that reach out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    List,
    Fetch,
    Push,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "ls-remote",
            Self::Fetch => "fetch",
            Self::Push => "push",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "look at",
            Self::Fetch => "fetch from",
            Self::Push => "push to",
        })
    }
}

/// Phrases of Git, curl and ssh in the C locale, in lower case, and what they
/// come to. The first that occurs holds.
const PHRASES: &[(ErrorCode, &[&str])] = &[
    (ErrorCode::Invalid, &["fsck error", "error in object", "has malformed", "index-pack failed"]),
    (
        ErrorCode::Denied,
        &[
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "permission denied",
            "access denied",
            "host key verification failed",
            "dubious ownership",
            "returned error: 30",
            "returned error: 401",
            "returned error: 403",
            "transport '",
            "pre-receive hook declined",
            "protected branch",
        ],
    ),
    (
        ErrorCode::Unavailable,
        &[
            "could not resolve",
            "connection refused",
            "connection reset",
            "connection timed out",
            "operation timed out",
            "network is unreachable",
            "no route to host",
            "unable to access",
            "early eof",
            "returned error: 5",
            "ssl certificate",
            "ssl connection",
            "ssl_connect",
        ],
    ),
    (
        ErrorCode::NotFound,
        &[
            "not found",
            "does not exist",
            "does not appear to be a git repository",
            "not a git repository",
            "couldn't find remote ref",
            "not our ref",
            "unadvertised object",
            "no such file",
        ],
    ),
];

/// The error for a call that failed. The text is Git's or the remote's: cut,
/// on one line, without escapes; credentials are out of it already.
pub(crate) fn failure(verb: Verb, address: &Address, finished: &Finished) -> PortError {
    let said = &finished.stderr;
    let lower = clip(said, 64 << 10).to_lowercase();
    let code = classify(&lower);
    let reason = reason(said).unwrap_or_else(|| format!("git ended with {}", finished.status));
    let place = one_line(&address.masked(), 200);
    let message = match code {
        ErrorCode::Denied => format!("cannot {verb} {place}: it was refused: {reason}{}", advice(&lower)),
        ErrorCode::Invalid => {
            format!("cannot {verb} {place}: git refuses what the repository holds: {reason}")
        }
        _ => format!("cannot {verb} {place}: {reason}"),
    };
    PortError::new(code, message)
}

fn classify(lower: &str) -> ErrorCode {
    let found = PHRASES.iter().find(|(_, phrases)| phrases.iter().any(|phrase| lower.contains(phrase)));
    found.map_or(ErrorCode::Unavailable, |(code, _)| *code)
}

/// The line that says most: an fsck error, what the server said, the first
/// fatal line, any line.
fn reason(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let starting = |start: &'static str| lines().find_map(|line| line.strip_prefix(start).map(str::trim));
    let ssh = || lines().find(|line| line.contains("Permission denied") || line.contains("ssh: "));
    let line = starting("error: object")
        .or_else(|| starting("ERROR:"))
        .or_else(ssh)
        .or_else(|| starting("fatal:").filter(|line| !line.starts_with("Could not read from remote")))
        .or_else(|| starting("remote: error:"))
        .or_else(|| starting("error:"))
        .or_else(|| lines().next())?;
    Some(one_line(line, 300))
}

fn advice(lower: &str) -> &'static str {
    if lower.contains("dubious ownership") {
        "; hint: `git config --global --add safe.directory` with its path, if you trust it"
    } else if lower.contains("terminal prompts disabled") || lower.contains("could not read username") {
        "; hint: set up a credential helper for Git, or an ssh URL and key"
    } else if lower.contains("returned error: 30") {
        "; hint: it redirects, which is not followed: name the URL that it leads to, often the same with `.git` at its end"
    } else if lower.contains("host key verification") {
        "; hint: connect to the host once with ssh, to take up its key"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn code_of(stderr: &str) -> (ErrorCode, String) {
        let finished =
            Finished { status: ExitStatus::from_raw(128 << 8), stdout: String::new(), stderr: stderr.into() };
        let address = Address::Https { url: "https://host/a".into(), credentials: None };
        let error = failure(Verb::Fetch, &address, &finished);
        (error.code, error.message)
    }

    #[test]
    fn failures_are_told_apart() {
        let cases = [
            ("fatal: repository 'https://host/a/' not found", ErrorCode::NotFound),
            ("fatal: Authentication failed for 'https://host/a/'", ErrorCode::Denied),
            (
                "fatal: could not read Username for 'https://host': terminal prompts disabled",
                ErrorCode::Denied,
            ),
            (
                "fatal: unable to access 'https://host/a/': Could not resolve host: host",
                ErrorCode::Unavailable,
            ),
            (
                "fatal: unable to access 'https://host/a/': The requested URL returned error: 403",
                ErrorCode::Denied,
            ),
            (
                "fatal: unable to access 'https://host/a/': The requested URL returned error: 301",
                ErrorCode::Denied,
            ),
            (
                "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
                ErrorCode::NotFound,
            ),
            (
                "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                ErrorCode::Denied,
            ),
            (
                "error: object 1f: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
                ErrorCode::Invalid,
            ),
            ("fatal: transport 'ext' not allowed", ErrorCode::Denied),
            ("fatal: repository 'https://host/openssl/' not found", ErrorCode::NotFound),
            ("", ErrorCode::Unavailable),
        ];
        for (stderr, code) in cases {
            assert_eq!(code_of(stderr).0, code, "{stderr}");
        }
    }

    #[test]
    fn a_message_is_one_bounded_line_without_escapes() {
        let noisy = format!("\u{1b}[31mfatal: {}\r\nnext", "x".repeat(100_000));
        let message = code_of(&noisy).1;
        assert!(message.len() < 700 && !message.contains(['\n', '\u{1b}']), "{message}");
    }
}
