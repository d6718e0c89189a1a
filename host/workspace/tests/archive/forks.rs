//! The port that copies workspaces.

use std::fs;
use std::sync::Arc;

use sortie_core::action::WorkspaceCreate;
use sortie_core::event::Event;
use sortie_core::{Actor, Facts, Phase};
use sortie_policy::ports::{ErrorCode, Forks as _, WorkspaceSpec};
use sortie_policy::{Audit, AuditError, Chain, Defaults, FactsSource, Gate, Nobody, Permit, Registries};
use sortie_workspace::fork::FolderForks;

struct Nothing;

impl FactsSource for Nothing {
    fn facts(&self) -> Facts {
        Facts {
            now: jiff::Timestamp::UNIX_EPOCH,
            task: "task-222222".into(),
            repository: String::new(),
            branch: String::new(),
            phase: Phase::Work,
            tool_calls: 0,
            turns: 0,
            input_tokens: 0,
            output_tokens: 0,
            elapsed_ms: 0,
            untrusted_text: false,
        }
    }
}

impl Audit for Nothing {
    fn record(&self, _: Event) -> Result<(), AuditError> {
        Ok(())
    }
}

fn gate() -> Gate {
    let network = || "none".parse().expect("a network rule");
    let defaults = Defaults {
        repository: String::new(),
        provider: String::new(),
        setup_network: network(),
        agent_network: network(),
        registries: Registries::default(),
    };
    Gate::new(Chain::new(Vec::new()), defaults, Arc::new(Nothing), Arc::new(Nothing), Arc::new(Nobody))
}

async fn permit(gate: &Gate) -> Permit<WorkspaceCreate> {
    let create = WorkspaceCreate {
        backend: "sandbox".into(),
        image: None,
        setup_network: "none".into(),
        agent_network: "none".into(),
    };
    gate.permit(&Actor::Host, create).await.expect("the gate allows it")
}

#[tokio::test]
async fn a_workspace_is_copied_for_a_permit_of_the_right_gate_and_whole_or_not_at_all() {
    let ground = tempfile::tempdir().expect("a folder");
    let spec = |name: &str| WorkspaceSpec {
        work_tree: ground.path().join(name).join("workspace"),
        home: ground.path().join(name).join("home"),
    };
    let (source, copy) = (spec("source"), spec("copy"));
    fs::create_dir_all(&source.work_tree).expect("is made");
    fs::create_dir(&source.home).expect("is made");
    fs::create_dir(ground.path().join("copy")).expect("is made");
    fs::write(source.work_tree.join("file"), "content").expect("is written");
    fs::write(source.home.join("cache"), "cached").expect("is written");
    let (gate, other) = (gate(), gate());
    let forks = FolderForks::new(gate.seal(), None);

    let foreign = forks.fork(permit(&other).await, &source, &copy).await.expect_err("another gate's");
    assert_eq!(foreign.code, ErrorCode::Denied);
    assert!(!copy.work_tree.exists());

    let forked = forks.fork(permit(&gate).await, &source, &copy).await.expect("is copied");
    assert_eq!((forked.files, forked.bytes), (2, 13));
    assert_eq!(fs::read_to_string(copy.home.join("cache")).expect("is there"), "cached");

    let again = forks.fork(permit(&gate).await, &source, &copy).await.expect_err("it is there");
    assert_eq!(again.code, ErrorCode::Conflict);
    assert!(copy.work_tree.join("file").exists(), "what was there stays");

    let third = spec("third");
    fs::create_dir(ground.path().join("third")).expect("is made");
    let small = forks.clone().at_most(6);
    let error = small.fork(permit(&gate).await, &source, &third).await.expect_err("is too large");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(!third.work_tree.exists() && !third.home.exists());
}
