//! Which hosts the package managers in use would contact, asked of
//! themselves.
//!
//! What counts is their own defaults and what the operator's configuration
//! makes of them; never what the repository says, so that it cannot grant
//! itself a host with a `.npmrc` or a `pip.conf`. Hence they are asked in a
//! workspace of its own, of the operator's kind and image, whose work tree and
//! home are empty: nothing of the repository is there to be read or run, and
//! nothing that a set-up has left. Of the repository count the names of its
//! manifests alone, which say whom to ask.
//!
//! Each question is a command like any other, with a permit, a time and a
//! bound on its output. A manager that only shows its hosts when it cannot
//! reach them is sent to a proxy that is not there. An answer is taken apart
//! into URLs, and of these only hosts and ports are kept.

mod answers;
mod managers;

use std::collections::BTreeSet;
use std::time::Duration;

use sortie_core::action::{Exec, WorkspaceCreate};
use sortie_core::event::Event;
use sortie_core::network::{Contact, HostPattern};
use sortie_core::{Actor, Phase};
use sortie_policy::ports::{Chunk, Workspace, WorkspaceSpec};
use url::Url;

use crate::environment::Decided;
use crate::run::{RunError, TaskRun, port};
pub(crate) use managers::is_manifest;
use managers::{MANAGERS, Manager, SILENT};

/// The longest that one question may take.
const QUESTION: Duration = Duration::from_secs(120);
/// Bytes of an answer that are read; of both streams.
const ANSWER: u64 = 256 << 10;
/// Hosts that are taken over.
const HOSTS: usize = 64;
/// A proxy that is not there: inside of a workspace nobody listens on this port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What a manager printed.
struct Answer {
    stdout: String,
    stderr: String,
}

impl TaskRun {
    /// Has `registries` stand for the hosts of the managers whose manifests
    /// lie in the root of the work tree, if a rule says so. A manager that
    /// does not answer costs its own hosts.
    pub(crate) async fn learn_registries(
        &self,
        decided: &Decided,
        repository_wants: bool,
    ) -> Result<(), RunError> {
        let defaults = self.gate.defaults();
        let wanted = repository_wants
            || defaults.setup_network.wants_registries()
            || defaults.agent_network.wants_registries();
        if !wanted {
            return Ok(());
        }
        let names = self.root_manifests().await?;
        for silent in SILENT.iter().filter(|silent| silent.is_used(&names)) {
            self.warn(format!(
                "{} does not say which hosts it would contact; `registries,HOST` as the network rule names them",
                silent.name
            ));
        }
        let managers: Vec<_> = MANAGERS.iter().filter(|manager| manager.is_used(&names)).collect();
        if managers.is_empty() {
            return Ok(());
        }
        let asked: Vec<String> = managers.iter().map(|manager| manager.name.to_owned()).collect();
        let shown = |hosts: &Vec<String>| hosts.join(", ");
        let hosts =
            self.step("registries", asked.join(", "), shown, self.ask_all(decided, &managers)).await?;
        self.journal_append(Event::RegistriesLearned { managers: asked, hosts });
        Ok(())
    }

    /// Asks in a workspace of its own, which is gone afterwards.
    async fn ask_all(&self, decided: &Decided, managers: &[&Manager]) -> Result<Vec<String>, RunError> {
        let (work_tree, home) = self.folder.make_blank().map_err(blank)?;
        let spec = WorkspaceSpec { work_tree, home, ..WorkspaceSpec::default() };
        let asked = self.ask_there(decided, spec, managers).await;
        let removed = self.folder.remove_blank().map_err(blank);
        let hosts = asked?;
        removed.map(|()| hosts)
    }

    async fn ask_there(
        &self,
        decided: &Decided,
        spec: WorkspaceSpec,
        managers: &[&Manager],
    ) -> Result<Vec<String>, RunError> {
        let create = WorkspaceCreate {
            backend: self.plan.backend.clone(),
            image: decided.trusted_image.clone(),
            setup_network: self.gate.defaults().setup_network.to_string(),
            agent_network: self.gate.defaults().agent_network.to_string(),
            ..WorkspaceCreate::default()
        };
        let permit = self.gate.permit(&Actor::Host, create).await?;
        let workspace = self.workspaces.create(permit, spec).await.map_err(port("start the workspace"))?;
        let asked = self.ask_each(&*workspace, managers).await;
        let ended = workspace.stop().await.map_err(port("end the workspace"));
        let hosts = asked?;
        ended.map(|()| hosts)
    }

    async fn ask_each(
        &self,
        workspace: &dyn Workspace,
        managers: &[&Manager],
    ) -> Result<Vec<String>, RunError> {
        let mut known = Vec::new();
        for manager in managers {
            let mut urls = match self.ask(workspace, manager.question, true).await? {
                Some(answer) => (manager.read)(&answer),
                None => Vec::new(),
            };
            add(&mut known, &urls);
            self.gate.defaults().registries.learn(known.clone());
            // what the registry itself says of where its files lie
            if let Some((question, read)) = manager.then
                && self.reaches(&urls)
                && let Some(answer) = self.ask(workspace, question, false).await?
            {
                urls.extend(read(&answer));
                add(&mut known, &urls);
                self.gate.defaults().registries.learn(known.clone());
            }
            if urls.is_empty() {
                self.warn(format!(
                    "{} did not say which hosts it would contact: `registries` does not stand for them",
                    manager.name
                ));
            }
        }
        Ok(known.iter().map(ToString::to_string).collect())
    }

    /// Whether set-up may connect to one of these.
    fn reaches(&self, urls: &[String]) -> bool {
        let defaults = self.gate.defaults();
        urls.iter()
            .filter_map(|url| pattern(url))
            .map(|(_, host, port)| Contact::tunnel(&host, port))
            .any(|contact| defaults.registries.permit(defaults.network(Phase::Prepare), &contact))
    }

    /// Runs a question to its end. None if it could not be run, or took too
    /// long.
    async fn ask(
        &self,
        workspace: &dyn Workspace,
        question: &str,
        nowhere: bool,
    ) -> Result<Option<Answer>, RunError> {
        let mut exec = Exec {
            argv: vec!["sh".into(), "-c".into(), question.into()],
            timeout_ms: u64::try_from(QUESTION.as_millis()).ok(),
            max_output: Some(ANSWER),
            ..Exec::default()
        };
        if nowhere {
            let proxies =
                ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
            exec.env = proxies.map(|name| (name.to_owned(), NOWHERE.to_owned())).into();
        }
        let permit = self.gate.permit(&Actor::Host, exec).await?;
        let mut process = match workspace.commands().spawn(permit).await {
            Ok(process) => process,
            Err(error) => {
                tracing::debug!(%error, "a package manager could not be asked");
                return Ok(None);
            }
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let next = tokio::select! {
                next = process.next(QUESTION) => next,
                // the process ends with its handle
                () = self.cancel.cancelled() => return Err(RunError::Cancelled),
            };
            match next.map_err(port("ask a package manager"))? {
                Some(Chunk::Stdout(bytes)) => stdout.extend(bytes),
                Some(Chunk::Stderr(bytes)) => stderr.extend(bytes),
                Some(Chunk::Exit(_)) => break,
                Some(Chunk::Skipped(_)) => {}
                None => return Ok(None),
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(Answer { stdout: text(stdout), stderr: text(stderr) }))
    }
}

/// Takes over the hosts of these URLs, each once, as far as there is room.
fn add(known: &mut Vec<HostPattern>, urls: &[String]) {
    for (host, ..) in urls.iter().filter_map(|url| pattern(url)) {
        if known.len() < HOSTS && !known.contains(&host) {
            known.push(host);
        }
    }
}

/// The host and port of a URL, and the pattern of nothing else; none if it is
/// no `http` or `https` URL.
fn pattern(url: &str) -> Option<(HostPattern, String, u16)> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    Some((HostPattern::only(host, port)?, host.to_owned(), port))
}

fn blank(error: crate::FolderError) -> RunError {
    RunError::Port {
        step: "make room for questions to package managers",
        error: sortie_policy::ports::PortError::internal(error),
    }
}

/// What lies in the root of a work tree.
pub(crate) type Names = BTreeSet<String>;

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(urls: &[&str]) -> Vec<String> {
        let mut known = Vec::new();
        add(&mut known, &urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        known.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_a_url_its_host_and_port_are_kept_and_nothing_else_is_a_host() {
        assert_eq!(
            hosts(&[
                "https://A.example/simple",
                "http://user:secret@b.example:8081/x?y",
                "https://a.example./again",
                "https://[::1]:8443/",
            ]),
            ["a.example", "b.example:8081", "[::1]:8443"]
        );
        for odd in [
            "a.example",
            "file:///etc/passwd",
            "ssh://git@a.example/x",
            "https://*.example/",
            "https://a.example,all/",
            "https://a b/",
            "",
        ] {
            assert_eq!(hosts(&[odd]), Vec::<String>::new(), "{odd}");
        }
    }

    #[test]
    fn a_flood_of_hosts_is_bounded() {
        let urls: Vec<_> = (0..1000).map(|n| format!("https://h{n}.example/")).collect();
        let mut known = Vec::new();
        add(&mut known, &urls);
        assert_eq!(known.len(), HOSTS);
    }
}
