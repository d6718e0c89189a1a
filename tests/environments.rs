//! Set-up by environments.

pub(crate) mod containers;
pub(crate) mod secrets;
mod set_up;

use serde_json::{Value, json};

use crate::support::{Ran, Site, finish};

/// A repository whose one test wants what set-up makes.
fn site(environment: &str) -> Site {
    let site = Site::empty();
    site.write("test.sh", "test -f made/thing && test -f \"$HOME/mark\" && echo '1 passed'\n");
    site.write("package-lock.json", "{}\n");
    site.write(".sortie/config.toml", format!("[test]\ncommand = [\"sh\", \"test.sh\"]\n{environment}"));
    site.publish();
    site
}

const MAKE: &str = "mkdir -p made && echo thing > made/thing && echo mark > ~/mark && echo ran";

fn environment(setup: &[&str]) -> String {
    format!("[environment]\nsetup = {}\n", json!(setup))
}

/// The details of the steps of one name, in order.
fn steps(ran: &Ran, step: &str) -> Vec<String> {
    let started = ran.of_type("step.started").filter(|event| event["step"] == step);
    started.map(|event| event["detail"].as_str().unwrap_or_default().to_owned()).collect()
}

fn nothing() -> Value {
    json!({ "replies": [finish("done")] })
}

fn passed(ran: &Ran) {
    let report = ran.report();
    assert_eq!((ran.code, report["outcome"].as_str()), (Some(0), Some("done")), "{report:#}\n{}", ran.stderr);
    assert_eq!(report["tests"]["baseline"], json!({ "passed": 1, "failed": 0, "skipped": 0 }), "{report:#}");
}
