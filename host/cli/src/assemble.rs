//! The assembly: [`run_task`] puts a task together, in the order of its path.
//! [`enter`] puts a workspace together over what a task left, for a person.
//! Both stand on the same ground of settings and plugins.
//!
//! ```text
//! arguments, settings      what is wanted
//!   -> policies            components, in a chain
//!   -> journal             where every decision and every effect is written down
//!   -> gate                mints permits; everything after it takes permits only
//!   -> model               answers turns
//!   -> files, repository   the work tree; fetches the base, later commits and pushes
//!   -> workspace           a sandbox or a container, and the egress proxy as its way out
//!   -> tools               components that act on workspace and repository
//!   -> orchestrator        leads the task through its phases
//! ```

mod ground;
mod visit;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sortie_agent::{Journal as _, Meter, TaskFacts};
use sortie_core::TaskId;
use sortie_core::event::{Event, Report};
use sortie_core::secret::Secret;
use sortie_core::text::one_line;
use sortie_delivery::{Mirrors, Source, TaskRepository, branch_name, check_branch_name};
use sortie_environment::check_secrets;
use sortie_orchestrator::{
    Listener, Plan, RunError, Store, StoreError, TaskFolder, TaskJournal, TaskRecord, TaskRun, Until,
};
use sortie_policy::ports::{Files, NetworkMeter};
use sortie_policy::{Approver, Chain, Defaults, FactsSource, Gate};
use sortie_workspace::files::WorkFiles;
use sortie_workspace::sandbox::Owner;
use sortie_workspace::snapshot::Snapshots;
use tokio_util::sync::CancellationToken;

use crate::archiver::{TaskArchiver, components};
use crate::args::TaskArguments;
use crate::exit::Failure;
use crate::home::Places;
use crate::plugins::may_allow_push;
use crate::secret;
use crate::settings::Resolved;
use crate::tools::Toolshop;
use crate::workspaces::{SANDBOX, bounds};

use ground::{Ground, Guarded};

pub(crate) use visit::{Entered, MadeOf, Visit, enter};

/// Uncommitted files that are named.
const UNCOMMITTED: usize = 10;

/// A task that is wanted.
pub(crate) struct Request {
    /// The task in words.
    pub(crate) prompt: String,
    /// What was said on the command line.
    pub(crate) arguments: TaskArguments,
    /// The folder that relative paths start from.
    pub(crate) cwd: PathBuf,
    /// Sees every event.
    pub(crate) listener: Listener,
    /// Is asked where a policy asks.
    pub(crate) approver: Arc<dyn Approver>,
    /// Ends the task.
    pub(crate) cancel: CancellationToken,
    /// How far it goes.
    pub(crate) until: Until,
}

/// Puts a task together and runs it to its end.
///
/// # Errors
/// If it cannot begin: arguments, settings, plugins, state. What happens once
/// it began is in its report.
pub(crate) async fn run_task(
    places: &Places,
    request: Request,
) -> anyhow::Result<(Report, Option<RunError>)> {
    let Request { prompt, arguments, cwd, listener, approver, cancel, until } = request;

    // what is wanted
    let source = Source::parse(arguments.repo.as_deref().unwrap_or("."), &cwd)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let store = Arc::new(Store::open(&places.home)?);
    let id = unused(&places.home, &store, TaskId::random)?;
    let branch = arguments.branch.clone().unwrap_or_else(|| branch_name(&prompt, &id));
    check_branch_name(&branch).map_err(|error| Failure::usage(error.to_string()))?;

    // the settings, the policies and tools
    let mut ground = Ground::lay(places, &arguments).await?;
    let components = components(&ground.loaded);
    let may_push = may_allow_push(&ground.loaded.policies, &format!("refs/heads/{branch}"));

    // the journal, and with it the gate: from here on every effect takes a permit
    let blobs = TaskFolder::place(&places.home, &id).join("blobs");
    let journal = TaskJournal::new(Arc::clone(&store), id.clone(), blobs, listener)?;
    let facts = TaskFacts { task: id.to_string(), repository: source.masked(), branch: branch.clone() };
    let meter = Arc::new(Meter::new(facts));
    let gate = ground.gate(source.masked(), &meter, &journal, approver);
    let settings = &ground.settings;

    // the model: a missing key is found before the task exists
    let environment = sortie_model::Environment::from_process();
    let model =
        sortie_model::connect(&settings.model, &environment, settings.model_options.clone(), gate.seal())
            .map_err(|error| Failure::usage(error.to_string()))?;

    let secrets = bound(settings)?;

    // the task exists
    let owner = Owner::current();
    let owner = (owner.uid, owner.gid);
    let folder = TaskFolder::create(&places.home, &id, owner)?;
    // before anything is in them, so that all of it counts
    bounds::quota(&[folder.work_tree(), folder.home()], &settings.workspace);
    store.add_task(&TaskRecord {
        id: id.clone(),
        created_at: jiff::Timestamp::now().to_string(),
        prompt: prompt.clone(),
        repository: source.masked(),
        branch: branch.clone(),
        model: format!("{}/{}", model.provider(), model.name()),
        outcome: None,
    })?;

    let uncommitted = source.uncommitted(UNCOMMITTED);
    if !uncommitted.is_empty() {
        let names: Vec<_> = uncommitted.iter().map(|path| path.display().to_string()).collect();
        let text =
            format!("the task starts from the last commit; not in it, and left alone: {}", names.join(", "));
        journal.append(Event::Warning { text: one_line(&text, 500) });
    }

    // what the gate's permits are for: files, repository, workspace, tools
    let files: Arc<dyn Files> = Arc::new(WorkFiles::new(&folder.work_tree(), gate.seal(), Some(owner))?);
    let repository = Arc::new(TaskRepository::open(sortie_delivery::Config {
        host_repository: folder.repository(),
        work_tree: folder.work_tree(),
        source: source.clone(),
        branch: branch.clone(),
        deliver: settings.push,
        author: settings.author.clone(),
        committer: settings.author.clone(),
        trailers: vec![("Sortie-Task".into(), id.to_string())],
        owner: Some(owner),
        build_output: sortie_delivery::BUILD_OUTPUT.iter().map(ToString::to_string).collect(),
        environment: Vec::new(),
        mirrors: settings.mirrors.map(|bounds| Mirrors::bounded(&places.home, bounds)),
        seal: gate.seal(),
        cancel: cancel.clone(),
    })?);
    let network = Arc::new(NetworkMeter::new(Some(settings.network_bytes)));
    let guarded = Guarded { gate, meter, journal, files, network };
    let workspaces = ground.backends(&guarded, places);
    let adopt = ground.adopter(&guarded, true);
    let Guarded { gate, meter, journal, files, network } = guarded;
    let Ground { settings, shown, sinks, plugin_host, tests, loaded, from_repository, path_rules, .. } =
        ground;
    let backend = settings.workspace.backend.clone().unwrap_or_else(|| SANDBOX.into());
    let tools = Toolshop {
        loaded: loaded.tools,
        host: plugin_host,
        tests,
        user_test: settings.test.clone(),
        from_repository,
        gate: Arc::clone(&gate),
        meter: Arc::clone(&meter),
        repository: Arc::clone(&repository) as Arc<dyn sortie_policy::ports::Repository>,
        trusted: settings.trusted.clone(),
        network: Arc::clone(&network),
        sinks,
        call_time: settings.limits.call,
    };

    let archiver = TaskArchiver {
        rules: settings.archive,
        snapshots: settings.snapshots.unwrap_or_default(),
        home: places.home.clone(),
        store,
        path_rules,
        task: id.clone(),
        repository: source.masked(),
        branch: branch.clone(),
        workspace: backend.clone(),
        components,
        settings: shown,
    };

    // the task, phase by phase
    let plan = Plan {
        id,
        prompt,
        repository: source.masked(),
        base: arguments.base.clone(),
        branch,
        backend,
        image: settings.workspace.image,
        image_registries: settings.workspace.image_registries,
        install: settings.install.clone(),
        environment: settings.environment,
        secrets,
        snapshots: settings.snapshots.is_some(),
        snapshot_rules: settings.snapshots.unwrap_or_default(),
        limits: settings.limits,
        push: settings.push,
        may_push,
        keep: arguments.keep,
        until,
    };
    let run = TaskRun {
        plan,
        gate,
        journal,
        meter,
        folder,
        repository,
        adopt: Arc::new(adopt),
        files,
        snapshots: Snapshots::new(&places.home, Some(owner)),
        workspaces: Arc::new(workspaces),
        network,
        tools: Arc::new(tools),
        archiver: Arc::new(archiver),
        model,
        cancel,
    };
    let report = run.run().await;
    bounds::give_back(&places.home);
    Ok(report?)
}

/// An id that no task has, nor a folder that is left of one.
fn unused(home: &Path, store: &Store, mut draw: impl FnMut() -> TaskId) -> Result<TaskId, StoreError> {
    loop {
        let id = draw();
        if store.task(&id)?.is_none() && !TaskFolder::place(home, &id).exists() {
            return Ok(id);
        }
    }
}

/// The secrets that the environment binds, read from where it says.
fn bound(settings: &Resolved) -> anyhow::Result<Vec<(String, Secret)>> {
    let Some(environment) = &settings.environment else { return Ok(Vec::new()) };
    check_secrets(environment, &settings.install).map_err(|error| Failure::usage(error.to_string()))?;
    let secrets = environment.secrets.iter();
    secrets.map(|(name, source)| Ok((name.clone(), secret::read(name, source)?))).collect()
}

/// The one gate of a task, or of a person in its workspace.
fn gate(
    policies: Chain,
    defaults: Defaults,
    meter: &Arc<Meter>,
    journal: &TaskJournal,
    approver: Arc<dyn Approver>,
) -> Arc<Gate> {
    let facts = Arc::clone(meter) as Arc<dyn FactsSource>;
    #[expect(clippy::disallowed_methods, reason = "gates are made here and nowhere else")]
    let gate = Gate::new(policies, defaults, facts, Arc::new(journal.clone()), approver);
    Arc::new(gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_task_or_what_is_left_of_one_has_is_drawn_again() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(home.path()).expect("opens");
        let ids = ["task-222222", "task-333333", "task-444444"];
        let [known, left, free] = ids.map(|id| id.parse::<TaskId>().expect("an id"));
        let known_task = TaskRecord {
            id: known.clone(),
            created_at: "2026-01-01T00:00:00Z".into(),
            prompt: String::new(),
            repository: String::new(),
            branch: String::new(),
            model: String::new(),
            outcome: None,
        };
        store.add_task(&known_task).expect("is written down");
        std::fs::create_dir_all(TaskFolder::place(home.path(), &left)).expect("is made");
        let mut draws = [known, left, free.clone()].into_iter();
        let found = unused(home.path(), &store, || draws.next().expect("the last one is free"));
        assert_eq!(found.expect("the journal is read"), free);
    }
}
