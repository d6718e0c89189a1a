//! JavaScript and TypeScript: the runner behind `npm test`.

use serde_json::Value;
use sortie_sdk::Result;

use super::script::{self, Command, Scripts, base};
use super::{Plan, tree};
use crate::format::Format;

/// How to run the tests of a package.
pub(super) fn detect() -> Result<Option<Plan>> {
    let Some(text) = tree::read("package.json")? else { return Ok(None) };
    let Ok(manifest) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
    let scripts = scripts(&manifest);
    match scripts.get("test").map(|script| script.trim()).filter(|script| !is_placeholder(script)) {
        Some(script) => Ok(Some(of_script(&scripts, script))),
        None => without_script(&manifest),
    }
}

fn scripts(manifest: &Value) -> Scripts {
    let scripts = manifest.get("scripts").and_then(Value::as_object);
    let entries = scripts.into_iter().flatten();
    entries.filter_map(|(name, script)| Some((name.clone(), script.as_str()?.to_owned()))).collect()
}

/// What `npm init` writes, and scripts that do nothing.
fn is_placeholder(script: &str) -> bool {
    script.is_empty()
        || script.contains("no test specified")
        || ["true", ":", "exit 0", "echo"].contains(&script)
}

/// The test script: the commands it comes to with the runner asked for a
/// report, or `npm test` where it cannot be taken apart.
fn of_script(scripts: &Scripts, script: &str) -> Plan {
    let detected_by = format!("package.json: scripts.test = {}", crate::text::clip(script, 200));
    let whole = || Plan::new(["npm", "test"], Format::Plain, detected_by.clone());
    // Scripts that look at npm's own variables need npm.
    let Some(commands) = script::commands(scripts, "test").filter(|_| !script.contains("npm_")) else {
        return whole();
    };
    let runners: Vec<(usize, Format)> =
        commands.iter().enumerate().filter_map(|(at, command)| Some((at, runner(command)?))).collect();
    match runners[..] {
        [(at, format)] => {
            Plan::new(["sh", "-c", &line(&commands, Some((at, format))), "sh"], format, detected_by)
        }
        // Several runners: each prints its own summary.
        _ if commands.iter().any(|command| !command.text.is_empty()) => {
            Plan::new(["sh", "-c", &line(&commands, None), "sh"], Format::Plain, detected_by)
        }
        _ => whole(),
    }
}

/// The commands as one line of shell, with the package's programs on the path
/// and, if there is one runner, a place for its arguments.
fn line(commands: &[Command], runner: Option<(usize, Format)>) -> String {
    let mut line = "PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; ".to_owned();
    for (index, command) in commands.iter().enumerate() {
        if index > 0 {
            line.push_str(" && ");
        }
        match runner {
            Some((at, Format::Node)) if at == index => {
                line.push_str(&command.text.replacen("--test", "--test \"$@\"", 1));
            }
            Some((at, Format::Jest | Format::Vitest | Format::Mocha)) if at == index => {
                line.push_str(&command.text);
                line.push_str(" \"$@\"");
            }
            Some((at, Format::Tap)) if at == index && base(&command.words[0]) == "ava" => {
                line.push_str(&command.text);
                line.push_str(" --tap");
            }
            _ => line.push_str(&command.text),
        }
    }
    line
}

/// The runner that a command starts, if it is a known one.
fn runner(command: &Command) -> Option<Format> {
    for (at, word) in command.words.iter().enumerate() {
        let is_script = word.contains("node_modules/") || at == 0 || !word.contains(['/', '.']);
        let format = match base(word) {
            "jest" | "react-scripts" => Format::Jest,
            "vitest" => Format::Vitest,
            "mocha" | "_mocha" | "ts-mocha" => Format::Mocha,
            "tape" | "ava" | "tap" => Format::Tap,
            "node" | "tsx" if has_node_runner(command) => Format::Node,
            _ => continue,
        };
        // `jest` as a folder or a file is no runner.
        return is_script.then_some(format);
    }
    None
}

/// `node --test`, with no reporter of its own choice.
fn has_node_runner(command: &Command) -> bool {
    command.words.iter().any(|word| word == "--test")
        && !command.words.iter().any(|word| word.starts_with("--test-reporter"))
}

/// A package without a test script: what its settings and its tests say.
fn without_script(manifest: &Value) -> Result<Option<Plan>> {
    let depends = |name: &str| {
        ["devDependencies", "dependencies"]
            .iter()
            .any(|key| manifest.get(key).and_then(|deps| deps.get(name)).is_some())
    };
    let tests = tree::glob("**/*.{js,mjs,cjs,ts,mts,jsx,tsx}", usize::MAX)?;
    let tests: Vec<&String> = tests.iter().filter(|path| is_test_file(path)).collect();
    let Some(first) = tests.first() else { return Ok(None) };
    for (name, format) in [("vitest", Format::Vitest), ("jest", Format::Jest), ("mocha", Format::Mocha)] {
        if depends(name) {
            let program = format!("node_modules/.bin/{name}");
            return Ok(Some(Plan::new([program], format, format!("package.json: {name}"))));
        }
    }
    for path in tests.iter().take(20) {
        let text = tree::read(path)?.unwrap_or_default();
        if ["'node:test'", "\"node:test\""].iter().any(|module| text.contains(module)) {
            return Ok(Some(Plan::new(["node", "--test"], Format::Node, (*first).clone())));
        }
    }
    Ok(None)
}

/// Whether a file's path says that it holds tests.
fn is_test_file(path: &str) -> bool {
    let stem = tree::name(path).split('.').next().unwrap_or_default();
    path.contains(".test.")
        || path.contains(".spec.")
        || stem == "test"
        || stem.starts_with("test-")
        || stem.ends_with("-test")
        || stem.ends_with("_test")
        || path.split('/').any(|part| matches!(part, "test" | "tests" | "__tests__"))
}
