//! What `registries` stands for: the hosts that the package managers on this
//! machine name, each asked as it is, in the sandbox.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::mirror::{has, learned};
use crate::support::{Ran, Site, shell_script};

/// A manifest each, and the program that is asked.
const MANIFESTS: [(&str, &str, &str); 11] = [
    ("npm", "npm", "package.json"),
    ("pnpm", "pnpm", "pnpm-lock.yaml"),
    ("yarn", "yarn", "yarn.lock"),
    ("pip", "python3", "requirements.txt"),
    ("uv", "uv", "uv.lock"),
    ("poetry", "poetry", "poetry.lock"),
    ("go", "go", "go.mod"),
    ("maven", "mvn", "pom.xml"),
    ("gradle", "gradle", "build.gradle"),
    ("bundler", "gem", "Gemfile"),
    ("composer", "composer", "composer.json"),
];

/// What the user has set, by the program that heeds it.
const MIRRORS: [(&str, &str, &str); 7] = [
    ("npm", "npm_config_registry", "https://npm.example/x/"),
    ("pnpm", "PNPM_CONFIG_REGISTRY", "https://pnpm.example/x/"),
    ("yarn", "YARN_NPM_REGISTRY_SERVER", "https://yarn.example/x"),
    ("python3", "PIP_INDEX_URL", "https://pip.example/simple"),
    ("uv", "UV_DEFAULT_INDEX", "https://uv.example/simple"),
    ("uv", "UV_INDEX", "https://extra.example/simple"),
    ("go", "GOPROXY", "https://go.example,direct"),
];

#[test]
fn each_package_manager_that_is_here_names_its_hosts() {
    if !has(&["python3", "npm", "node"]) {
        return eprintln!("skipped: python3, npm or node do not run");
    }
    let site = Site::empty();
    for (.., manifest) in MANIFESTS {
        site.write(manifest, "");
    }
    site.write("package.json", json!({ "name": "x" }).to_string());
    site.publish();
    site.aside(
        "config.toml",
        "install = \"\"\n[network]\nsetup = \"registries\"\n[test]\ncommand = [\"true\"]\nformat = \"plain\"\n",
    );
    let programs: Vec<_> = MANIFESTS.iter().map(|(_, program, _)| *program).collect();
    let seen = format!(
        "for name in {}; do {{ $name --version || $name version; }} >/dev/null 2>&1 && echo has $name; done",
        programs.join(" ")
    );
    let mut command = site.scripted(&shell_script(&[&seen]));
    let is_old = |program: &str, start: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.stdout.starts_with(start.as_bytes()))
    };
    // pnpm heeded npm's variable once
    let old_pnpm = (7..11).any(|major| is_old("pnpm", &format!("{major}.")));
    let mirrors: Vec<_> =
        MIRRORS.into_iter().filter(|(program, ..)| *program != "pnpm" || !old_pnpm).collect();
    for (program, variable, url) in &mirrors {
        // each generation of yarn has a variable of its own, and some refuse the other's
        let is_classic = *program == "yarn" && is_old("yarn", "1.");
        command.env(if is_classic { "YARN_REGISTRY" } else { variable }, url);
    }
    let ran = Ran::of(command.env("GOSUMDB", "off"));
    let results = ran.tool_results();
    let here: BTreeSet<_> = results.lines().filter_map(|line| line.trim().strip_prefix("has ")).collect();
    assert!(here.contains("npm") && here.contains("python3"), "{results}\n{}", ran.stderr);
    let hosts = learned(&ran);
    for (program, _, url) in mirrors {
        let host = url.split('/').nth(2).expect("it has one").trim_end_matches(",direct");
        assert_eq!(hosts.contains(&host), here.contains(program), "{program}: {hosts:?}\n{}", ran.stderr);
    }
    let warnings: Vec<_> = ran.of_type("warning").filter_map(|event| event["text"].as_str()).collect();
    for (manager, program, _) in MANIFESTS {
        let silent = format!("{manager} did not say which hosts it would contact");
        let is_silent = warnings.iter().any(|warning| warning.starts_with(&silent));
        assert_eq!(is_silent, !here.contains(program), "{manager}: {warnings:#?}");
    }
}
