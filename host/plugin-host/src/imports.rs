//! Compares what a component imports and exports with what it may have.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::Problem;
use crate::grants::Grants;
use crate::spec::PluginKind;

/// The version of our own packages.
const OURS: (u64, u64, u64) = (0, 1, 0);
const TOOL: &str = "sortie:tool/tool";
const POLICY: &str = "sortie:policy/policy";

/// Base WASI. Sockets are here because the guests' standard libraries import
/// them; each call of theirs is denied.
const BASE: &[(&str, &[&str])] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// What one import needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Exec,
    Files,
    Git,
    Http,
    /// Part of the contract, but not of this host.
    NotOffered,
    /// A version that this host does not have.
    Version,
    Unknown,
}

/// `package/interface@version`, taken apart.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: Option<(u64, u64, u64)>,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (path, version) =
            text.split_once('@').map_or((text, None), |(path, version)| (path, Some(version)));
        let (package, interface) = path.split_once('/')?;
        Some(Self { package, interface, version: version.and_then(parse_version) })
    }

    /// Whether this host's package of version 0.1 serves it.
    fn ours(&self) -> bool {
        self.version
            .is_some_and(|(major, minor, patch)| (major, minor) == (OURS.0, OURS.1) && patch <= OURS.2)
    }

    fn wasi_2(&self) -> bool {
        matches!(self.version, Some((0, 2, _)))
    }
}

fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}

fn need(import: &str) -> Need {
    let Some(name) = Name::parse(import) else { return Need::Unknown };
    let known = match (name.package, name.interface) {
        ("sortie:host", "types" | "config" | "telemetry" | "control") => Need::Nothing,
        ("sortie:host", "exec") => Need::Exec,
        ("sortie:host", "files") => Need::Files,
        ("sortie:host", "git") => Need::Git,
        ("sortie:host", "secrets" | "kv") => Need::NotOffered,
        ("wasi:http", "types" | "outgoing-handler") => Need::Http,
        (package, interface) if BASE.iter().any(|(p, names)| *p == package && names.contains(&interface)) => {
            Need::Nothing
        }
        _ => return Need::Unknown,
    };
    let fits = if name.package == "sortie:host" { name.ours() } else { name.wasi_2() };
    if fits { known } else { Need::Version }
}

/// Checks all imports, and lists in one text everything that is missing.
pub(crate) fn check(
    engine: &Engine,
    component: &Component,
    kind: PluginKind,
    grants: &Grants,
) -> Result<(), Problem> {
    let ty = component.component_type();
    let imports: Vec<String> = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    check_names(&imports, kind, grants)
}

fn check_names(imports: &[String], kind: PluginKind, grants: &Grants) -> Result<(), Problem> {
    let mut absent = Vec::new();
    let mut forbidden = Vec::new();
    let mut missing = Vec::new();
    for import in imports {
        let needed = need(import);
        let granted = match needed {
            Need::Nothing => kind == PluginKind::Tool || !import.starts_with("sortie:host/control"),
            Need::Exec => grants.any_exec(),
            Need::Files => grants.any_files(),
            Need::Git => grants.any_git(),
            Need::Http => grants.any_http(),
            Need::NotOffered => {
                absent.push(format!("{import} (part of the contract, but not offered by this host)"));
                continue;
            }
            Need::Version => {
                absent.push(format!("{import} (another version)"));
                continue;
            }
            Need::Unknown => {
                absent.push(import.clone());
                continue;
            }
        };
        if kind == PluginKind::Policy && (needed != Need::Nothing || !granted) {
            forbidden.push(import.clone());
        } else if !granted {
            missing.push((import.clone(), needed));
        }
    }
    let mut texts = Vec::new();
    if !absent.is_empty() {
        texts.push(format!("it imports what this host does not have: {}", bounded(&absent)));
    }
    if !forbidden.is_empty() {
        texts.push(format!("a policy decides without effects, and it imports {}", bounded(&forbidden)));
    }
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(name, _)| name.clone()).collect();
        let lacks = |need| missing.iter().any(|(_, needed)| *needed == need);
        let line =
            grants.suggestion(lacks(Need::Exec), lacks(Need::Files), lacks(Need::Git), lacks(Need::Http));
        texts.push(format!(
            "it imports what it was not granted: {}; under its [[plugin]], `{line}` would grant it, or less where less will do",
            bounded(&names)
        ));
    }
    if texts.is_empty() { Ok(()) } else { Err(Problem::Imports(texts.join("; "))) }
}

/// A list of names from a guest, for a message.
fn bounded(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(20).map(|name| sortie_core::text::one_line(name, 120)).collect();
    let rest = names.len().saturating_sub(20);
    if rest > 0 { format!("{} and {rest} more", shown.join(", ")) } else { shown.join(", ") }
}

/// What a component is, by what it exports.
pub(crate) fn kind(engine: &Engine, component: &Component) -> Result<PluginKind, Problem> {
    let ty = component.component_type();
    let exports: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    kind_of(&exports)
}

fn kind_of(exports: &[String]) -> Result<PluginKind, Problem> {
    let of = |wanted: &str| {
        let named = |name: &&String| name.split('@').next() == Some(wanted);
        exports.iter().filter(named).cloned().collect::<Vec<_>>()
    };
    let fits = |names: &[String]| names.iter().any(|name| Name::parse(name).is_some_and(|name| name.ours()));
    let (tools, policies) = (of(TOOL), of(POLICY));
    match (fits(&tools), fits(&policies)) {
        (true, false) => Ok(PluginKind::Tool),
        (false, true) => Ok(PluginKind::Policy),
        (true, true) => {
            Err(Problem::Exports(format!("it exports both {TOOL} and {POLICY}; a plugin is one of them")))
        }
        (false, false) if tools.is_empty() && policies.is_empty() => Err(Problem::Exports(format!(
            "it exports neither {TOOL}@0.1.0 nor {POLICY}@0.1.0, so it is no plugin of this host"
        ))),
        (false, false) => Err(Problem::Exports(format!(
            "it exports {}, and this host has version 0.1.0",
            bounded(&[tools, policies].concat())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(imports: &[&str], kind: PluginKind, grants: &str) -> String {
        let imports: Vec<String> = imports.iter().map(|&name| name.to_owned()).collect();
        let grants = toml::from_str(grants).expect("grants");
        check_names(&imports, kind, &grants).err().map(|problem| problem.to_string()).unwrap_or_default()
    }

    #[test]
    fn base_wasi_and_what_needs_no_grant_is_let_through() {
        let imports = [
            "wasi:cli/stderr@0.2.6",
            "wasi:io/poll@0.2.0",
            "sortie:host/config@0.1.0",
            "sortie:host/types@0.1.0",
        ];
        assert_eq!(refusal(&imports, PluginKind::Tool, ""), "");
        assert_eq!(refusal(&imports, PluginKind::Policy, ""), "");
    }

    #[test]
    fn everything_that_is_missing_is_in_one_message() {
        let imports = [
            "sortie:host/exec@0.1.0",
            "sortie:host/kv@0.1.0",
            "wasi:http/types@0.2.12",
            "wasi:cli/run@0.3.0",
            "x:y/z",
        ];
        let text = refusal(&imports, PluginKind::Tool, "git = true");
        for part in [
            "sortie:host/kv@0.1.0 (part of the contract, but not offered by this host)",
            "wasi:cli/run@0.3.0",
            "x:y/z",
            "not granted: sortie:host/exec@0.1.0, wasi:http/types@0.2.12",
            r#"`grants = { exec = ["sh *"], git = true, http = ["https://*"] }`"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn other_versions_are_not_taken_for_ours() {
        for import in [
            "sortie:host/exec@0.2.0",
            "sortie:host/exec@0.1.1",
            "sortie:host/exec",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.2.0-rc",
        ] {
            assert!(
                refusal(&[import], PluginKind::Tool, "exec = [\"*\"]").contains("another version"),
                "{import}"
            );
        }
    }

    #[test]
    fn a_policy_gets_no_effects_whatever_it_is_granted() {
        for import in ["sortie:host/exec@0.1.0", "sortie:host/control@0.1.0", "wasi:http/types@0.2.0"] {
            let text = refusal(&[import], PluginKind::Policy, "exec = [\"*\"]\nhttp = [\"https://*\"]");
            assert!(text.contains("without effects"), "{import}: {text}");
        }
    }

    #[test]
    fn a_component_is_one_of_the_two_kinds() {
        let kind = |names: &[&str]| kind_of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(kind(&["sortie:tool/tool@0.1.0"]).expect("a tool"), PluginKind::Tool);
        assert_eq!(kind(&["sortie:policy/policy@0.1.0", "x"]).expect("a policy"), PluginKind::Policy);
        assert!(kind(&["wasi:cli/run@0.2.0"]).expect_err("neither").to_string().contains("neither"));
        assert!(kind(&["sortie:tool/tool@0.2.0"]).expect_err("other").to_string().contains("version 0.1.0"));
        let both = ["sortie:tool/tool@0.1.0", "sortie:policy/policy@0.1.0"];
        assert!(kind(&both).expect_err("both").to_string().contains("both"));
    }
}
