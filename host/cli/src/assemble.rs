//! The assembly: [`run_task`] puts a task together, in the order of its path.
//! [`enter`] puts a workspace together over what a task left, for a person.
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

use std::path::PathBuf;
use std::sync::Arc;

use sortie_agent::{Journal as _, Meter, TaskFacts};
use sortie_core::action::WorkspaceCreate;
use sortie_core::event::{Event, Report};
use sortie_core::secret::Secret;
use sortie_core::text::one_line;
use sortie_core::{Actor, Phase, TaskId};
use sortie_delivery::{Source, TaskRepository, branch_name, check_branch_name};
use sortie_environment::Environment;
use sortie_orchestrator::{
    Adopt as _, Listener, Parts, Plan, RunError, Store, TaskFolder, TaskJournal, TaskRecord, TaskRun, Until,
};
use sortie_policy::ports::{ErrorCode, Files, NetworkMeter, Workspace, WorkspaceSpec, Workspaces as _};
use sortie_policy::{Approver, Chain, Defaults, FactsSource, Gate, Link, Registries};
use sortie_workspace::files::WorkFiles;
use sortie_workspace::sandbox::Owner;
use sortie_workspace::snapshot::Snapshots;
use tokio_util::sync::CancellationToken;

use crate::adopt::{Adopter, Repository};
use crate::archiver::{TaskArchiver, components};
use crate::args::TaskArguments;
use crate::exit::Failure;
use crate::home::Places;
use crate::plugins::{self, Policy, Sinks};
use crate::print;
use crate::secret;
use crate::settings::{read_file, resolve, shown};
use crate::tools::Toolshop;
use crate::workspaces::{Backends, PathRulesOf, SANDBOX, bounds};

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
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let settings = resolve(&arguments, &user, &organisation)?;
    let source = Source::parse(arguments.repo.as_deref().unwrap_or("."), &cwd)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let id = TaskId::random();
    let branch = arguments.branch.clone().unwrap_or_else(|| branch_name(&prompt, &id));
    check_branch_name(&branch).map_err(|error| Failure::usage(error.to_string()))?;

    // the policies and tools
    let sinks = Sinks::default();
    let plugin_host = plugins::host(places, &sinks)?;
    let wanted = plugins::wanted(&user, &organisation)?;
    let registries = Registries::default();
    let from_repository = Arc::new(Repository::new(registries.clone()));
    let path_rules = PathRulesOf::new(&wanted, &from_repository);
    let tests = plugins::tests_of(&wanted);
    let shown_settings = shown(&settings, &wanted);
    let loaded = plugins::load(&plugin_host, wanted).await?;
    let components = components(&loaded);

    // the journal, and with it the gate: from here on every effect takes a permit
    let store = Arc::new(Store::open(&places.home)?);
    let blobs = TaskFolder::place(&places.home, &id).join("blobs");
    let journal = TaskJournal::new(Arc::clone(&store), id.clone(), blobs, listener)?;
    sinks.attach(journal.clone());
    let facts = TaskFacts { task: id.to_string(), repository: source.masked(), branch: branch.clone() };
    let meter = Arc::new(Meter::new(facts));
    let defaults = Defaults {
        repository: source.masked(),
        provider: settings.model.provider().name().into(),
        setup_network: settings.setup_network.clone(),
        agent_network: settings.agent_network.clone(),
        registries,
    };
    let policies = chain(loaded.policies, &sinks, &from_repository);
    let gate = gate(policies, defaults, &meter, &journal, approver);

    // the model: a missing key is found before the task exists
    let environment = sortie_model::Environment::from_process();
    let model =
        sortie_model::connect(&settings.model, &environment, settings.model_options.clone(), gate.seal())
            .map_err(|error| Failure::usage(error.to_string()))?;

    let secrets = bound(settings.environment.as_ref())?;

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
        mirrors: Some(sortie_delivery::Mirrors::new(&places.home)),
        seal: gate.seal(),
        cancel: cancel.clone(),
    })?);
    let network = Arc::new(NetworkMeter::new(Some(settings.network_bytes)));
    let workspaces = Backends {
        gate: Arc::clone(&gate),
        meter: Arc::clone(&meter),
        journal: journal.clone(),
        files: Arc::clone(&files),
        settings: settings.workspace.clone(),
        trusted: settings.trusted.clone(),
        network: Arc::clone(&network),
        path_rules: path_rules.clone(),
        hidden: vec![places.home.clone()],
        home: places.home.clone(),
    };
    let backend = settings.workspace.backend.clone().unwrap_or_else(|| SANDBOX.into());
    let adopt = Adopter {
        gate: Arc::clone(&gate),
        files: Arc::clone(&files),
        host: plugin_host.clone(),
        sinks: sinks.clone(),
        repository: Arc::clone(&from_repository),
        wants_devcontainer: settings.environment.is_none(),
    };
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
        settings: shown_settings,
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
        install: settings.install.clone(),
        environment: settings.environment,
        secrets,
        snapshots: settings.snapshots.is_some(),
        snapshot_rules: settings.snapshots.unwrap_or_default(),
        limits: settings.limits,
        push: settings.push,
        keep: arguments.keep,
        until,
    };
    let parts = Parts {
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
    let report = TaskRun::run(plan, parts).await;
    bounds::give_back(&places.home);
    Ok(report?)
}

/// The secrets that an environment binds, read from where it says.
fn bound(environment: Option<&Environment>) -> anyhow::Result<Vec<(String, Secret)>> {
    let secrets = environment.map(|environment| &environment.secrets).into_iter().flatten();
    secrets.map(|(name, source)| Ok((name.clone(), secret::read(name, source)?))).collect()
}

/// The policies in order, the repository's among them.
fn chain(policies: Vec<Policy>, sinks: &Sinks, from_repository: &Arc<Repository>) -> Chain {
    let mut links: Vec<Link> = policies.into_iter().map(|policy| policy.link(sinks)).collect();
    links.push(from_repository.link());
    Chain::new(links)
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

/// A person who wants into what a task left.
pub(crate) struct Visit<'a> {
    /// The task.
    pub(crate) task: TaskRecord,
    /// Its folder, locked, with work tree and home.
    pub(crate) folder: &'a TaskFolder,
    /// What was said on the command line; `workspace` names the backend.
    pub(crate) arguments: TaskArguments,
    /// The image that the task's container began from, by id.
    pub(crate) image_id: Option<String>,
    /// Is asked where a policy asks.
    pub(crate) approver: Arc<dyn Approver>,
}

/// A workspace that runs, and what its commands need.
pub(crate) struct Entered {
    pub(crate) gate: Arc<Gate>,
    pub(crate) journal: TaskJournal,
    pub(crate) workspace: Arc<dyn Workspace>,
}

/// Starts a workspace over the folders of a task that nobody works on, under
/// the policies and limits that hold now and the network rule of the agent.
///
/// # Errors
/// If settings or plugins are wrong, a policy refuses it, or it cannot start.
pub(crate) async fn enter(places: &Places, visit: Visit<'_>) -> anyhow::Result<Entered> {
    let Visit { task, folder, mut arguments, image_id, approver } = visit;
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    // no model is asked
    arguments.model = Some("scripted:none".into());
    let settings = resolve(&arguments, &user, &organisation)?;
    let has_images = settings.workspace.backend.as_deref().is_some_and(|backend| backend != SANDBOX);
    let sinks = Sinks::default();
    let plugin_host = plugins::host(places, &sinks)?;
    let wanted = plugins::wanted(&user, &organisation)?;
    let registries = Registries::default();
    let from_repository = Arc::new(Repository::new(registries.clone()));
    let path_rules = PathRulesOf::new(&wanted, &from_repository);
    let loaded = plugins::load(&plugin_host, wanted).await?;

    let store = Arc::new(Store::open(&places.home)?);
    let journal = TaskJournal::new(store, task.id.clone(), folder.blobs(), Box::new(|_| {}))?;
    sinks.attach(journal.clone());
    let meter = Arc::new(Meter::new(TaskFacts {
        task: task.id.to_string(),
        repository: task.repository.clone(),
        branch: task.branch,
    }));
    meter.enter(Phase::Work);
    let defaults = Defaults {
        repository: task.repository,
        provider: settings.model.provider().name().into(),
        setup_network: settings.setup_network.clone(),
        agent_network: settings.agent_network.clone(),
        registries,
    };
    let gate = gate(chain(loaded.policies, &sinks, &from_repository), defaults, &meter, &journal, approver);
    let owner = Owner::current();
    let owner = (owner.uid, owner.gid);
    let files: Arc<dyn Files> = Arc::new(WorkFiles::new(&folder.work_tree(), gate.seal(), Some(owner))?);
    let adopt = Adopter {
        gate: Arc::clone(&gate),
        files: Arc::clone(&files),
        host: plugin_host,
        sinks,
        repository: Arc::clone(&from_repository),
        wants_devcontainer: settings.environment.is_none() && has_images,
    };
    // all that they could do is tighten, and a person may want in because they are wrong
    let adopted = adopt.adopt(settings.limits).await.map_err(|error| {
        print::tell(format_args!("the repository's own settings do not hold here: {error}"));
    });
    let environment = settings.environment.or_else(|| adopted.ok()?.environment).unwrap_or_default();
    let workspaces = Backends {
        gate: Arc::clone(&gate),
        meter,
        journal: journal.clone(),
        files,
        settings: settings.workspace.clone(),
        trusted: settings.trusted.clone(),
        network: Arc::new(NetworkMeter::new(Some(settings.network_bytes))),
        path_rules,
        hidden: vec![places.home.clone()],
        home: places.home.clone(),
    };
    let mut create = WorkspaceCreate {
        backend: settings.workspace.backend.unwrap_or_else(|| SANDBOX.into()),
        image: settings.workspace.image,
        image_id,
        services: if has_images { environment.services } else { Vec::new() },
        setup_network: gate.defaults().setup_network.to_string(),
        agent_network: gate.defaults().agent_network.to_string(),
        ..WorkspaceCreate::default()
    };
    let spec = WorkspaceSpec {
        work_tree: folder.work_tree(),
        home: folder.home(),
        variables: environment.variables.into_iter().collect(),
        ..WorkspaceSpec::default()
    };
    if create.image_id.is_some() {
        let permit = gate.permit(&Actor::User, create.clone()).await.map_err(Failure::refused)?;
        let identified = workspaces.identify(permit, &spec).await;
        if identified.is_err_and(|error| error.code == ErrorCode::NotFound) {
            print::tell("the image that set-up made is gone: this container begins from the one below it");
            create.image_id = None;
        }
    }
    let permit = gate.permit(&Actor::User, create).await.map_err(Failure::refused)?;
    let workspace = workspaces.create(permit, spec).await?;
    Ok(Entered { gate, journal, workspace })
}
