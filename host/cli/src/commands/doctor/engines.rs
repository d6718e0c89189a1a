//! The container engines of this machine.

use sortie_workspace::container::{About, Engine, EngineError};

use super::Finding;

/// The engine that tasks get, or why they get none, and what else there is.
pub(super) fn findings(
    used: &Result<Engine, EngineError>,
    others: &[Result<Engine, EngineError>],
    needed: bool,
) -> Vec<Finding> {
    let finding = |engine: &Result<Engine, EngineError>, is_used| match engine {
        Ok(engine) => answering(engine.about(), is_used),
        Err(error) => refused(error),
    };
    let others = others.iter().map(|engine| finding(engine, false).optional());
    std::iter::once(finding(used, true).needed_if(needed)).chain(others).collect()
}

fn answering(about: &About, is_used: bool) -> Finding {
    let root = if about.rootless { "rootless" } else { "as root" };
    let not_used = if is_used { "" } else { "; not used: DOCKER_HOST would name it" };
    let text = format!(
        "{} {} {root}, cgroup v{}, at {}{not_used}",
        about.kind,
        about.version,
        about.cgroups,
        about.socket.display()
    );
    if about.lacks.is_empty() {
        return Finding::good("engine", text);
    }
    let hint = if about.cgroups < 2 {
        "a rootless engine can keep limits with cgroup v2 alone; use one that runs as root, or accept the words above"
    } else {
        "sudo mkdir -p /etc/systemd/system/user@.service.d\n\
         printf '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf\n\
         sudo systemctl daemon-reload    # and a new login"
    };
    Finding::bad("engine", format!("{text}; cannot limit {}", about.lacks.join(", ")), hint)
}

fn refused(error: &EngineError) -> Finding {
    let text = error.to_string();
    let (first, hint) = text.split_once('\n').unwrap_or((&text, "only `--workspace docker` needs one"));
    Finding::bad("engine", first, hint.trim_start_matches("hint: "))
}
