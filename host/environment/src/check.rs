//! What an environment may say, and how much of it. Whoever wrote it, a text
//! that passes here can be handed to an engine or to `sh -c` as one argument.

use std::collections::BTreeMap;

use sortie_core::action::{ImageBuild, Service};
use sortie_core::text::one_line;

use crate::{EnvironmentLimits, EnvironmentTest};

/// Commands of one kind.
pub(crate) const COMMANDS: usize = 64;
/// Bytes of a command, or of a variable's value.
pub(crate) const COMMAND_BYTES: usize = 16 << 10;
/// Variables of one place, secrets, cached paths.
pub(crate) const NAMES: usize = 128;
/// Services.
pub(crate) const SERVICES: usize = 16;
/// Bytes of a path, a reference or an image's name.
const NAME_BYTES: usize = 512;
/// Seconds that a service may take until it is ready.
const HEALTH_SECONDS: u64 = 3600;
/// Minutes of one command of set-up.
const SETUP_MINUTES: u64 = 24 * 60;

/// Megabytes of memory at least: process 1, a shell and a command of it.
const MEMORY_MB: u64 = 16;
/// Processes and threads at least, those of process 1 among them.
const PROCESSES: u64 = 16;

/// Variables that the platform sets: with others, commands would find neither
/// their home nor the way to the network, and nothing would say why.
const RESERVED: [&str; 8] =
    ["HOME", "USER", "LOGNAME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// How the output of tests is read; see the tool `run_tests`.
const FORMATS: [&str; 10] =
    ["cargo", "pytest", "unittest", "jest", "vitest", "mocha", "node", "go", "tap", "plain"];

/// Something that an environment cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Invalid {
    /// Where it stands, such as `service.db.image`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// Command lines for `sh -c`.
pub(crate) fn commands(key: &str, lines: &[String]) -> Result<(), Invalid> {
    if lines.len() > COMMANDS {
        return Err(Invalid::new(key, format!("{} commands; at most {COMMANDS}", lines.len())));
    }
    lines.iter().try_for_each(|line| command(key, line))
}

fn command(key: &str, line: &str) -> Result<(), Invalid> {
    if line.trim().is_empty() {
        return Err(Invalid::new(key, "an empty command"));
    }
    text(key, line)
}

/// An argument or a value: bounded, without NUL.
pub(crate) fn text(key: &str, text: &str) -> Result<(), Invalid> {
    if text.len() > COMMAND_BYTES {
        return Err(Invalid::new(key, format!("{} bytes; at most {COMMAND_BYTES}", text.len())));
    }
    if text.contains('\0') {
        return Err(Invalid::new(key, "a NUL byte, which no command can be given"));
    }
    Ok(())
}

/// The name of a variable.
pub(crate) fn variable_name(key: &str, name: &str) -> Result<(), Invalid> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || name.len() > NAME_BYTES || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let name = one_line(name, 60);
        return Err(Invalid::new(
            key,
            format!("`{name}` is no name of a variable: letters, digits and `_`, no digit first"),
        ));
    }
    if RESERVED.contains(&name.to_ascii_uppercase().as_str()) {
        return Err(Invalid::new(key, format!("`{name}` is set by Sortie: commands depend on it")));
    }
    Ok(())
}

/// Variables of commands or of a service, or arguments of a build.
pub(crate) fn variables(key: &str, variables: &BTreeMap<String, String>) -> Result<(), Invalid> {
    count(key, variables.len())?;
    variables.iter().try_for_each(|(name, value)| {
        variable_name(key, name)?;
        text(&format!("{key}.{name}"), value)
    })
}

/// At most as many names as anybody needs.
pub(crate) fn count(key: &str, count: usize) -> Result<(), Invalid> {
    if count > NAMES {
        return Err(Invalid::new(key, format!("{count} entries; at most {NAMES}")));
    }
    Ok(())
}

/// An image's name or digest: what an engine's client takes, and no option.
pub(crate) fn image(key: &str, image: &str) -> Result<(), Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let starts = image.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || image.len() > NAME_BYTES || !image.chars().all(plain) {
        let shown = one_line(image, 60);
        return Err(Invalid::new(key, format!("`{shown}` is no image; write `name:tag` or `name@sha256:…`")));
    }
    Ok(())
}

/// A path beneath a folder, without `.` in it; `""` for the folder itself.
pub(crate) fn beneath(key: &str, path: &str) -> Result<String, Invalid> {
    let refuse = |reason: &str| Err(Invalid::new(key, format!("`{}` {reason}", one_line(path, 60))));
    if path.len() > NAME_BYTES || path.contains(['\0', '\n']) {
        return refuse("is no path");
    }
    if path.starts_with('/') {
        return refuse("is no relative path");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return refuse("leads out");
    }
    Ok(parts.join("/"))
}

/// A build, with its paths without `.`.
pub(crate) fn build(key: &str, build: ImageBuild) -> Result<ImageBuild, Invalid> {
    let dockerfile = beneath(&format!("{key}.dockerfile"), &build.dockerfile)?;
    if dockerfile.is_empty() {
        return Err(Invalid::new(format!("{key}.dockerfile"), "it names no file"));
    }
    if let Some(target) = &build.target {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if target.is_empty() || target.len() > NAME_BYTES || !target.chars().all(plain) {
            let target = one_line(target, 60);
            return Err(Invalid::new(format!("{key}.target"), format!("`{target}` is no name of a stage")));
        }
    }
    // `FROM` and `RUN` take proxies and homes as arguments, too: those are the engine's own
    let args_key = format!("{key}.args");
    variables(&args_key, &build.args)?;
    Ok(ImageBuild { dockerfile, context: beneath(&format!("{key}.context"), &build.context)?, ..build })
}

/// Where something is kept: relative to the work tree, or to the home after `~/`.
pub(crate) fn cache_path(key: &str, path: &str) -> Result<String, Invalid> {
    let (home, rest) = match path.strip_prefix("~/") {
        Some(rest) => ("~/", rest),
        None => ("", path),
    };
    let rest = beneath(key, rest)?;
    let shown = one_line(path, 60);
    if rest.is_empty() || rest == "~" {
        return Err(Invalid::new(key, format!("`{shown}` is all there is; name what is below it")));
    }
    if home.is_empty() && (rest == ".git" || rest.starts_with(".git/")) {
        return Err(Invalid::new(key, format!("`{shown}` belongs to the repository, not to a cache")));
    }
    Ok(format!("{home}{rest}"))
}

/// What runs beside a workspace.
pub(crate) fn services(services: &[Service]) -> Result<(), Invalid> {
    if services.len() > SERVICES {
        return Err(Invalid::new("service", format!("{} services; at most {SERVICES}", services.len())));
    }
    for (at, these) in services.iter().enumerate() {
        service(these)?;
        if services[..at].iter().any(|other| other.name == these.name) {
            return Err(Invalid::new("service", format!("two services are named `{}`", these.name)));
        }
    }
    Ok(())
}

fn service(service: &Service) -> Result<(), Invalid> {
    let name = &service.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_host = !name.is_empty() && name.len() <= 63 && name.chars().all(plain);
    if !is_host || name.starts_with('-') || name.ends_with('-') || name == "localhost" {
        let name = one_line(name, 60);
        return Err(Invalid::new(
            "service",
            format!("`{name}` is no name of a service: lower-case letters, digits and `-` within"),
        ));
    }
    let key = |key: &str| format!("service.{name}.{key}");
    image(&key("image"), &service.image)?;
    if service.command.len() > COMMANDS {
        return Err(Invalid::new(key("command"), format!("more than {COMMANDS} arguments")));
    }
    service.command.iter().try_for_each(|argument| text(&key("command"), argument))?;
    service_variables(&key("variables"), &service.variables)?;
    if let Some(health) = &service.health {
        command(&key("health"), health)?;
    }
    match service.health_seconds {
        Some(seconds) if !(1..=HEALTH_SECONDS).contains(&seconds) => {
            Err(Invalid::new(key("health_seconds"), format!("{seconds} is not from 1 to {HEALTH_SECONDS}")))
        }
        _ => Ok(()),
    }
}

/// A service has a home and a user of its image's own.
fn service_variables(key: &str, variables: &BTreeMap<String, String>) -> Result<(), Invalid> {
    count(key, variables.len())?;
    variables.iter().try_for_each(|(name, value)| {
        if name.is_empty() || name.len() > NAME_BYTES || name.contains(['=', '\0']) {
            let name = one_line(name, 60);
            return Err(Invalid::new(key, format!("`{name}` is no name of a variable")));
        }
        text(&format!("{key}.{name}"), value)
    })
}

/// Megabytes of memory.
///
/// # Errors
/// If nothing could run with so few: what the least is.
pub fn check_memory_mb(megabytes: u64) -> Result<(), String> {
    at_least(megabytes, MEMORY_MB)
}

/// Processes and threads.
///
/// # Errors
/// If nothing could run with so few: what the least is.
pub fn check_processes(processes: u64) -> Result<(), String> {
    at_least(processes, PROCESSES)
}

fn at_least(value: u64, least: u64) -> Result<(), String> {
    match value < least {
        true => Err(format!("{value} lets nothing run; at least {least}")),
        false => Ok(()),
    }
}

/// What commands may use up.
pub(crate) fn limits(limits: &EnvironmentLimits) -> Result<(), Invalid> {
    let positive = |key: &str, value: Option<u64>| match value {
        Some(0) => Err(Invalid::new(format!("limits.{key}"), "0 lets nothing run")),
        _ => Ok(()),
    };
    let least = |key: &str, value: Option<u64>, check: fn(u64) -> Result<(), String>| {
        value.map_or(Ok(()), check).map_err(|reason| Invalid::new(format!("limits.{key}"), reason))
    };
    least("memory_mb", limits.memory_mb, check_memory_mb)?;
    least("processes", limits.processes, check_processes)?;
    positive("setup_minutes", limits.setup_minutes)?;
    if limits.setup_minutes.is_some_and(|minutes| minutes > SETUP_MINUTES) {
        return Err(Invalid::new("limits.setup_minutes", format!("at most {SETUP_MINUTES}")));
    }
    match limits.cpus {
        Some(cpus) if !cpus.is_finite() || cpus <= 0.0 => {
            Err(Invalid::new("limits.cpus", format!("{cpus} is no number of processors")))
        }
        _ => Ok(()),
    }
}

/// How tests are run.
pub(crate) fn test(test: &EnvironmentTest) -> Result<(), Invalid> {
    if test.command.first().is_none_or(String::is_empty) {
        return Err(Invalid::new("test.command", "it names no program"));
    }
    if test.command.len() > COMMANDS {
        return Err(Invalid::new("test.command", format!("more than {COMMANDS} arguments")));
    }
    test.command.iter().try_for_each(|argument| text("test.command", argument))?;
    test.format.as_deref().map_or(Ok(()), check_format).map_err(|reason| Invalid::new("test.format", reason))
}

/// How the output of tests is read.
///
/// # Errors
/// If there is no such way: what is wrong, and what there is.
pub fn check_format(format: &str) -> Result<(), String> {
    match FORMATS.contains(&format) {
        true => Ok(()),
        false => Err(format!("`{}` is none of {}", one_line(format, 60), FORMATS.join(", "))),
    }
}

/// A branch, tag or commit to start from.
pub(crate) fn base(base: &str) -> Result<(), Invalid> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if base.is_empty() || base.len() > NAME_BYTES || base.starts_with('-') || base.contains(odd) {
        return Err(Invalid::new("base", format!("`{}` names no branch, tag or commit", one_line(base, 60))));
    }
    Ok(())
}
