//! A workspace over what a task left, for a person.

use std::sync::Arc;

use sortie_agent::{Meter, TaskFacts};
use sortie_core::action::WorkspaceCreate;
use sortie_core::event::Event;
use sortie_core::{Actor, Phase, TaskId};
use sortie_environment::{Choice, Image, Offers, Said};
use sortie_orchestrator::{Adopt as _, Store, StoreError, TaskFolder, TaskJournal, TaskRecord};
use sortie_policy::ports::{ErrorCode, NetworkMeter, Workspace, WorkspaceSpec, Workspaces as _};
use sortie_policy::{Approver, Gate};
use sortie_workspace::files::WorkFiles;
use sortie_workspace::sandbox::Owner;

use super::ground::{Ground, Guarded};
use crate::args::TaskArguments;
use crate::exit::Failure;
use crate::home::Places;
use crate::print;
use crate::workspaces::SANDBOX;

/// Events that are read at a time.
const PAGE: u32 = 500;

/// A person who wants into what a task left.
pub(crate) struct Visit<'a> {
    /// The task.
    pub(crate) task: TaskRecord,
    /// Its folder, locked, with work tree and home.
    pub(crate) folder: &'a TaskFolder,
    /// What was said on the command line; `workspace` names the backend.
    pub(crate) arguments: TaskArguments,
    /// What the task's workspace was made of.
    pub(crate) made_of: MadeOf,
    /// Is asked where a policy asks.
    pub(crate) approver: Arc<dyn Approver>,
}

/// What a task's workspace was made of, as its journal has it.
#[derive(Default)]
pub(crate) struct MadeOf {
    /// The image, as it was named.
    image: Option<String>,
    /// Whether the repository named it.
    is_repositorys: bool,
    /// The image that the container began from, by id.
    image_id: Option<String>,
}

impl MadeOf {
    /// None of a task whose set-up did not come to its end.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) fn of(store: &Store, id: &TaskId) -> Result<Option<Self>, StoreError> {
        let mut after = 0;
        loop {
            let events = store.events(id, after, PAGE)?;
            let Some(last) = events.last() else { return Ok(None) };
            after = last.seq;
            for event in &events {
                // an event of set-up: it is among the first
                if let Ok(Event::EnvironmentReady { image, image_of_repository, image_id, .. }) =
                    serde_json::from_str(&event.body)
                {
                    return Ok(Some(Self { image, is_repositorys: image_of_repository, image_id }));
                }
            }
        }
    }
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
    let Visit { task, folder, mut arguments, made_of, approver } = visit;
    // no model is asked
    arguments.model = Some("scripted:none".into());
    // somebody may want in with another image
    let MadeOf { image, is_repositorys, image_id } = match arguments.image.as_deref() {
        None | Some("") => made_of,
        Some(_) => MadeOf::default(),
    };
    let (its_image, image) = if is_repositorys { (image, None) } else { (None, image) };
    arguments.image = image.or(arguments.image);
    let mut ground = Ground::lay(places, &arguments).await?;
    let store = Arc::new(Store::open(&places.home)?);
    let journal = TaskJournal::new(store, task.id.clone(), folder.blobs(), Box::new(|_| {}))?;
    let repository = task.repository.clone();
    let facts = TaskFacts { task: task.id.to_string(), repository: task.repository, branch: task.branch };
    let meter = Arc::new(Meter::new(facts));
    meter.enter(Phase::Work);
    let gate = ground.gate(repository, &meter, &journal, approver);
    let owner = Owner::current();
    let files = WorkFiles::new(&folder.work_tree(), gate.seal(), Some((owner.uid, owner.gid)))?;
    let network = Arc::new(NetworkMeter::new(Some(ground.settings.network_bytes)));
    let guarded = Guarded { gate, meter, journal, files: Arc::new(files), network };

    let settings = &ground.settings;
    let backend = settings.workspace.backend.clone().unwrap_or_else(|| SANDBOX.into());
    let has_images = backend != SANDBOX;
    // all that they could do is tighten, and a person may want in because they are wrong
    let adopted = ground.adopter(&guarded, has_images).adopt(settings.limits).await.map_err(|error| {
        print::tell(format_args!("the repository's own settings do not hold here: {error}"));
    });
    let choice = Choice::of(Offers {
        named: settings.environment.clone(),
        own: adopted.ok().and_then(|adopted| adopted.environment),
        image: settings.workspace.image.clone(),
        has_images,
        ..Offers::default()
    });
    let mut images_of_repository = choice.images_of_repository();
    // whatever its settings say by now
    images_of_repository.extend(its_image.clone());
    let image = its_image.or_else(|| match choice.image() {
        Said::By(_, Image::Named(image)) => Some(image),
        _ => None,
    });
    let environment = choice.environment;
    let workspaces = ground.backends(&guarded, places);
    let mut create = WorkspaceCreate {
        backend,
        image: image.filter(|_| has_images),
        image_id,
        services: if has_images { environment.services } else { Vec::new() },
        setup_network: settings.setup_network.to_string(),
        agent_network: settings.agent_network.to_string(),
        ..WorkspaceCreate::default()
    };
    let spec = WorkspaceSpec {
        work_tree: folder.work_tree(),
        home: folder.home(),
        variables: environment.variables.into_iter().collect(),
        images_of_repository,
        ..WorkspaceSpec::default()
    };
    let Guarded { gate, journal, .. } = guarded;
    if create.image_id.is_some() {
        let permit = gate.permit(&Actor::User, create.clone()).await.map_err(Failure::refused)?;
        let identified = workspaces.identify(permit, &spec).await;
        if identified.is_err_and(|error| error.code == ErrorCode::NotFound) {
            print::tell("the image that set-up made is gone: this container begins from the one below it");
            create.image_id = None;
        }
    }
    let permit = gate.permit(&Actor::User, create).await.map_err(Failure::refused)?;
    let workspace = workspaces.create(permit, spec).await.map_err(|error| match error.code {
        ErrorCode::Invalid => Failure::usage(error.to_string()),
        _ => error.into(),
    })?;
    Ok(Entered { gate, journal, workspace })
}
