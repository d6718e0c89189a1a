//! What holds, value by value, each with who says so.

use serde::Serialize;
use serde_json::{Value, json};
use sortie_core::Phase;
use sortie_core::action::command_line;
use sortie_core::network::NetworkRule;
use sortie_environment::{Environment, EnvironmentLimits, Image, Said, SecretSource, Source};

use super::chosen::Chosen;
use crate::settings::{REPOSITORY_PATH, SettingsFile, WorkspaceSettings, masked};
use crate::workspaces::SANDBOX;

/// Who says what nobody else says.
const DEFAULT: &str = "default";
const USER: &str = "the user's settings";
const ORGANISATION: &str = "the organisation's settings";

/// A value, and who says so.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What it is, as settings name it.
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) source: String,
}

impl Row {
    fn new(key: impl Into<String>, value: impl Into<Value>, source: impl Into<String>) -> Self {
        Self { key: key.into(), value: masked(value.into()), source: source.into() }
    }
}

impl Chosen {
    /// All values in the order in which a workspace is made.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.backend_row()];
        rows.extend(self.image());
        rows.extend(self.set_up());
        rows.extend(self.of_environment());
        rows.extend(self.network("setup", Phase::Prepare));
        rows.extend(self.network("agent", Phase::Work));
        rows.extend(self.limits());
        rows.push(self.tests());
        rows
    }

    fn backend_row(&self) -> Row {
        let source = match &self.arguments.workspace {
            Some(_) => "--workspace or SORTIE_WORKSPACE",
            None => self.whose(|file| file.workspace.backend.is_some()),
        };
        Row::new("workspace", self.backend.clone(), source)
    }

    /// The image of containers.
    pub(super) fn image(&self) -> Option<Row> {
        if self.backend == SANDBOX {
            return None;
        }
        let value = |image| match image {
            Image::Named(name) => Value::from(name),
            Image::Built(build) => json!({ "build": build }),
        };
        Some(match self.choice.image() {
            // a flag is in both of these
            Said::By(_, image) if self.arguments.image.as_ref().is_some_and(|image| !image.is_empty()) => {
                Row::new("image", value(image), "--image or SORTIE_IMAGE")
            }
            Said::By(source, image) => {
                Row::new("image", value(image), self.said(source, |file| file.workspace.image.is_some()))
            }
            Said::Nobody => Row::new("image", self.detected.image.clone(), self.detected.because.clone()),
        })
    }

    /// None where a task would be refused for them.
    fn set_up(&self) -> Vec<Row> {
        match self.choice.set_up() {
            Ok(Said::By(source, lines)) => {
                let source = self.said(source, |file| file.install.is_some());
                lines.into_iter().map(|line| Row::new("setup", line, source.clone())).collect()
            }
            Ok(Said::Nobody) => {
                let steps = self.detected.steps.iter();
                steps.map(|step| Row::new("setup", step.command.clone(), step.because.clone())).collect()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Who says it, of those that can.
    fn said(&self, source: Source, is_set: impl Fn(&SettingsFile) -> bool) -> String {
        match source {
            Source::Environment => self.origin(),
            Source::Operator => self.whose(is_set).to_owned(),
            Source::Repository => REPOSITORY_PATH.to_owned(),
        }
    }

    /// What an environment alone says.
    fn of_environment(&self) -> Vec<Row> {
        let Environment { maintenance, setup_root, services, variables, cache, .. } = self.environment();
        let mut rows: Vec<_> =
            maintenance.iter().map(|line| Row::new("maintenance", line.clone(), self.origin())).collect();
        if *setup_root {
            rows.push(Row::new("setup_root", true, self.origin()));
        }
        let services = services.iter();
        rows.extend(
            services
                .map(|these| Row::new(format!("service.{}", these.name), these.image.clone(), self.origin())),
        );
        let variables = variables.iter();
        rows.extend(
            variables
                .map(|(name, value)| Row::new(format!("variables.{name}"), value.clone(), self.origin())),
        );
        rows.extend(self.secrets());
        rows.extend(cache.iter().map(|path| Row::new("cache", path.clone(), self.origin())));
        rows
    }

    /// Where secrets come from, and never what they are.
    fn secrets(&self) -> Vec<Row> {
        let bound = self.environment().secrets.iter().map(|(name, source)| {
            let from = match source {
                SecretSource::Variable(variable) => json!({ "env": variable }),
                SecretSource::File(path) => json!({ "file": path }),
            };
            Row::new(format!("secrets.{name}"), from, self.origin())
        });
        let unbound = self.unbound().into_iter();
        bound
            .chain(unbound.map(|name| Row::new(format!("secrets.{name}"), "not bound", self.origin())))
            .collect()
    }

    fn network(&self, name: &str, phase: Phase) -> Vec<Row> {
        let key = format!("network.{name}");
        let is_agent = name == "agent";
        let named = self.settings.environment.as_ref();
        let of_environment =
            named.and_then(|of| if is_agent { &of.agent_network } else { &of.setup_network }.as_ref());
        let source = if is_agent && self.arguments.network.is_some() {
            "--network or SORTIE_NETWORK".to_owned()
        } else if of_environment.is_some() {
            self.origin()
        } else {
            let is_set = |file: &SettingsFile| {
                if is_agent { &file.network.agent } else { &file.network.setup }.is_some()
            };
            self.whose(is_set).to_owned()
        };
        let rule = if is_agent { &self.settings.agent_network } else { &self.settings.setup_network };
        let tightened = self.own.network_rules(phase).map(|(own_key, rule): (_, &NetworkRule)| {
            Row::new(format!("{key} at most"), rule.to_string(), format!("{REPOSITORY_PATH}: {own_key}"))
        });
        [Row::new(key.clone(), rule.to_string(), source)].into_iter().chain(tightened).collect()
    }

    fn limits(&self) -> Vec<Row> {
        let WorkspaceSettings { memory_mb, processes, cpus, .. } = &self.settings.workspace;
        let named = self.settings.environment.as_ref().map(|these| these.limits).unwrap_or_default();
        let whose = |of_environment: bool, is_set: fn(&SettingsFile) -> bool| {
            if of_environment { self.origin() } else { self.whose(is_set).to_owned() }
        };
        let held = [
            memory_mb.map(|mb| {
                (
                    "memory_mb",
                    json!(mb),
                    whose(named.memory_mb.is_some(), |file| file.workspace.memory_mb.is_some()),
                )
            }),
            processes.map(|most| {
                (
                    "processes",
                    json!(most),
                    whose(named.processes.is_some(), |file| file.workspace.processes.is_some()),
                )
            }),
            cpus.map(|cpus| {
                ("cpus", json!(cpus), whose(named.cpus.is_some(), |file| file.workspace.cpus.is_some()))
            }),
        ];
        let held = held.into_iter().flatten();
        let mut rows: Vec<_> =
            held.map(|(key, value, source)| Row::new(format!("limits.{key}"), value, source)).collect();
        let EnvironmentLimits { memory_mb, processes, cpus, setup_minutes, idle_seconds } =
            self.environment().limits;
        let said = [
            ("memory_mb", memory_mb.map(Value::from)),
            ("processes", processes.map(Value::from)),
            ("cpus", cpus.map(Value::from)),
            ("setup_minutes", setup_minutes.map(Value::from)),
            ("idle_seconds", idle_seconds.map(Value::from)),
        ];
        for (at, (key, value)) in said.into_iter().enumerate() {
            // the first three of a named one are above
            let Some(value) = value.filter(|_| !self.choice.is_named || at > 2) else { continue };
            let most = if self.choice.is_named { "" } else { " at most" };
            rows.push(Row::new(format!("limits.{key}{most}"), value, self.origin()));
        }
        rows
    }

    fn tests(&self) -> Row {
        let named = self.settings.environment.as_ref().is_some_and(|these| these.test.is_some());
        let (command, source) = match (&self.settings.test.command, &self.own.test.command) {
            (command, _) if named => (command, self.origin()),
            (command, _) if !command.is_empty() => {
                (command, self.whose(|file| !file.test.command.is_empty()).to_owned())
            }
            (_, command) if !command.is_empty() => (command, REPOSITORY_PATH.to_owned()),
            _ => return Row::new("test", "detected when a task begins", DEFAULT),
        };
        Row::new("test", command_line(command), source)
    }

    fn origin(&self) -> String {
        self.environment().origin.to_string()
    }

    /// Whose settings say it, of those that count.
    fn whose(&self, is_set: impl Fn(&SettingsFile) -> bool) -> &'static str {
        if is_set(&self.user) {
            USER
        } else if is_set(&self.organisation) {
            ORGANISATION
        } else {
            DEFAULT
        }
    }
}
