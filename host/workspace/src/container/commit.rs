//! What a set-up left in its root file system, kept as an image.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{ContainerConfig, ImageConfig, ImageSummary};
use bollard::query_parameters::{
    CommitContainerOptions, InspectContainerOptions, ListImagesOptions, RemoveImageOptions,
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::engine::Engine;
use super::error::{ContainerError, EngineError, reason, step};
use super::image::{self, failed, parts};
use super::{BUILD_LABEL, Container, OWNER_LABEL, TASK_LABEL, USERS_LABEL, shape};

/// The label of an image that a set-up left; its value is the tag that it was given.
pub const SNAPSHOT_LABEL: &str = "dev.sortie.snapshot";
/// How much it adds to the image that it was made from.
const BYTES_LABEL: &str = "dev.sortie.bytes";

/// An engine writes a layer in one answer.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// How long one is waited for that is of no more use.
const FAREWELL: Duration = Duration::from_secs(120);

/// An image that a set-up left, or that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// Its name, `NAME:KEY`; its id if it has lost that.
    pub name: String,
    /// The tag that it was given when it was made.
    pub key: String,
    /// The task that made it.
    pub task: String,
    /// Bytes that it adds to the image that it was made from.
    pub bytes: u64,
    /// When it was made.
    pub created: SystemTime,
}

/// What the engine is at for a container. It goes on with that whether anybody waits or not.
#[derive(Debug, Default)]
pub(super) struct Commits(TaskTracker);

impl Commits {
    /// Says why it could not be.
    async fn commit(
        &self,
        engine: &Engine,
        name: &str,
        options: CommitContainerOptions,
        config: ContainerConfig,
    ) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        let (engine, name) = (engine.clone(), name.to_owned());
        self.0.spawn(async move {
            let api = engine.api.clone().with_timeout(TIMEOUT);
            let committed = api.commit_container(options, config).await;
            let committed = committed.map(drop).map_err(|error| reason(&error));
            // whoever gave up may have looked for it too early to find it
            if sender.send(committed).is_err()
                && let Err(error) = engine.remove_image(&name).await
            {
                tracing::warn!(%error, name, "an image that is of no more use is not removed");
            }
        });
        receiver.await.unwrap_or_else(|_| Err("the host is ending".to_owned()))
    }

    /// Waits until the engine is at nothing any more. What it takes longer for is left to `sortie gc`.
    pub(super) async fn end(&self) {
        self.0.close();
        if tokio::time::timeout(FAREWELL, self.0.wait()).await.is_err() {
            tracing::warn!("the engine still makes an image that is of no more use; `sortie gc` removes it");
        }
    }
}

impl Container {
    /// Keeps the root file system as an image called `name` (`NAME:KEY`) and returns its id; an image of this name is
    /// replaced. What is mounted there, such as work tree, home and `/tmp`, is not in it, nor is any variable of a
    /// command. A container of it starts as one of the original image does. Nothing runs inside meanwhile.
    ///
    /// Cancel-safe: of an image that nobody waits for any more the name goes as soon as the engine has made it, for
    /// which [`Container::finish`] waits.
    ///
    /// # Errors
    /// [`ContainerError::TooLarge`] if it adds more than `most` bytes; there is no image then.
    pub async fn commit(&self, name: &str, most: u64) -> Result<String, ContainerError> {
        let (repository, key) =
            parts(name).ok_or_else(|| failed(name, "that is no name for one".to_owned()))?;
        let bytes = self.bytes_added(most).await?;
        let before = self.engine.image_id(name).await?;
        let original = self.engine.image(&self.config.image).await?;
        let mut labels = vec![
            (OWNER_LABEL, self.config.owner.clone()),
            (TASK_LABEL, self.config.task.clone()),
            (SNAPSHOT_LABEL, key.to_owned()),
            (BYTES_LABEL, bytes.to_string()),
        ];
        if self.config.root || original.knows_users {
            labels.push((USERS_LABEL, shape::user(self.engine.about()).to_string()));
        }
        let options = CommitContainerOptions {
            container: Some(self.id.clone()),
            repo: Some(repository.to_owned()),
            tag: Some(key.to_owned()),
            pause: true,
            changes: Some(changes(&labels)),
            ..CommitContainerOptions::default()
        };
        let committed = self.commits.commit(&self.engine, name, options, config(original.config)).await;
        committed.map_err(|reason| ContainerError::Step { step: "keep what the set-up left", reason })?;
        let id = self.engine.image(name).await?.id;
        // commands may have written between the look and the pause
        if let Err(error) = self.bytes_added(most).await {
            self.engine.remove_image(&id).await?;
            return Err(error);
        }
        // one that the new one was made from stays, without a name
        if let Some(before) = before.filter(|before| *before != id)
            && let Err(error) = self.engine.remove_image(&before).await
        {
            tracing::debug!(%error, before, "the image that had this name stays");
        }
        Ok(id)
    }

    /// What the container holds beyond its image.
    async fn bytes_added(&self, most: u64) -> Result<u64, ContainerError> {
        let options = InspectContainerOptions { size: true };
        let inspected = self.engine.api.clone().with_timeout(TIMEOUT);
        let inspected = inspected.inspect_container(&self.id, Some(options)).await;
        let size = inspected.map_err(|error| step("measure what the set-up left", &error))?.size_rw;
        // none is what an engine says of nothing
        let bytes = u64::try_from(size.unwrap_or_default()).unwrap_or_default();
        if bytes > most {
            let what = "what set-up left beside work tree and home".to_owned();
            return Err(ContainerError::TooLarge { what, bytes, most });
        }
        Ok(bytes)
    }
}

/// What the image says of a start: as the original does, and not as our container was started. A field that is left
/// out the engine fills in with the container's own.
fn config(original: ImageConfig) -> ContainerConfig {
    ContainerConfig {
        user: Some(original.user.filter(|user| !user.is_empty()).unwrap_or_else(|| "0".to_owned())),
        env: Some(original.env.unwrap_or_default()),
        entrypoint: Some(original.entrypoint.unwrap_or_default()),
        cmd: Some(original.cmd.unwrap_or_default()),
        healthcheck: original.healthcheck,
        working_dir: Some(original.working_dir.filter(|at| !at.is_empty()).unwrap_or_else(|| "/".to_owned())),
        volumes: original.volumes,
        exposed_ports: original.exposed_ports,
        stop_signal: original.stop_signal,
        shell: original.shell,
        labels: original.labels,
        ..ContainerConfig::default()
    }
}

/// The labels, as lines of a Dockerfile: Podman looks at nothing else. Their values are ours: digests, numbers, ids.
fn changes(labels: &[(&str, String)]) -> String {
    let plain = |value: &str| -> String { value.chars().filter(|c| !"\"\\$\n\r".contains(*c)).collect() };
    let lines = labels.iter().map(|(name, value)| format!("LABEL {name}=\"{}\"", plain(value)));
    // no line feed at the end: some versions of Podman refuse what is behind it
    lines.collect::<Vec<_>>().join("\n")
}

impl Engine {
    /// Whether the engine has this image, by name or id. It is never pulled.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn has_image(&self, id: &str) -> Result<bool, ContainerError> {
        Ok(self.image_id(id).await?.is_some())
    }

    async fn image_id(&self, name: &str) -> Result<Option<String>, ContainerError> {
        match self.inspect(name).await {
            Ok(found) => Ok(image::id(found.id)),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(failed(name, reason(&error))),
        }
    }

    /// The images that set-ups of this owner left.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn snapshots(&self, owner: &str) -> Result<Vec<Snapshot>, EngineError> {
        self.labelled(owner, SNAPSHOT_LABEL).await
    }

    /// The images that were built for this owner from Dockerfiles of repositories. [`Snapshot::bytes`] counts what they
    /// were made from as well.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn builds(&self, owner: &str) -> Result<Vec<Snapshot>, EngineError> {
        let mut built = self.labelled(owner, BUILD_LABEL).await?;
        // what a set-up made of one has its labels as well
        let snapshots = self.snapshots(owner).await?;
        built.retain(|built| snapshots.iter().all(|snapshot| snapshot.id != built.id));
        Ok(built)
    }

    async fn labelled(&self, owner: &str, label: &str) -> Result<Vec<Snapshot>, EngineError> {
        let labels = vec![format!("{OWNER_LABEL}={owner}"), label.to_owned()];
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
        let listed = self.api.list_images(Some(options)).await.map_err(|error| self.silent(&error))?;
        Ok(listed.into_iter().filter_map(|image| snapshot(image, label)).collect())
    }

    /// Removes an image of ours, by name or id. One that is not there is fine. What it was made from stays, but for the
    /// steps of a build, which are nothing without it. One that somebody else has given a name loses ours and stays.
    ///
    /// # Errors
    /// If a container of it runs, or the engine does not answer.
    pub async fn remove_image(&self, id: &str) -> Result<(), ContainerError> {
        use bollard::errors::Error::DockerResponseServerError as Refused;
        const STEP: &str = "remove an image";
        let found = match self.inspect(id).await {
            Ok(found) => found,
            Err(Refused { status_code: 404, .. }) => return Ok(()),
            Err(error) => return Err(step(STEP, &error)),
        };
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let key = [SNAPSHOT_LABEL, BUILD_LABEL].iter().find_map(|label| labels.get(*label));
        let going = match image::id(found.id).as_deref() == Some(id) {
            // by its id, all of its names would go
            true => match Names::of(found.repo_tags.unwrap_or_default(), key.map_or("", String::as_str)) {
                Names::Ours(names) => names,
                Names::Others => Vec::new(),
                Names::None => vec![id.to_owned()],
            },
            false => vec![id.to_owned()],
        };
        // without "noprune", images without a name that it was made from go as well
        let noprune = !labels.contains_key(BUILD_LABEL) || labels.contains_key(SNAPSHOT_LABEL);
        for name in going {
            let options = RemoveImageOptions { force: true, noprune, ..RemoveImageOptions::default() };
            match self.api.remove_image(&name, Some(options), None).await {
                Ok(_) | Err(Refused { status_code: 404, .. }) => {}
                Err(error) => return Err(step(STEP, &error)),
            }
        }
        Ok(())
    }
}

/// By what an image is called.
enum Names {
    /// By these, which we gave it, and perhaps by others.
    Ours(Vec<String>),
    /// By others alone.
    Others,
    None,
}

impl Names {
    /// `key` is the tag that we gave it.
    fn of(mut names: Vec<String>, key: &str) -> Self {
        names.retain(|name| name != "<none>:<none>");
        if names.is_empty() {
            return Self::None;
        }
        names.retain(|name| name.rsplit_once(':').is_some_and(|(_, tag)| tag == key));
        if names.is_empty() { Self::Others } else { Self::Ours(names) }
    }
}

fn snapshot(mut image: ImageSummary, label: &str) -> Option<Snapshot> {
    let id = image::id(Some(image.id))?;
    let key = image.labels.remove(label)?;
    let task = image.labels.remove(TASK_LABEL).unwrap_or_default();
    let of_label = image.labels.get(BYTES_LABEL).and_then(|bytes| bytes.parse().ok());
    let created = u64::try_from(image.created).unwrap_or_default();
    let name = match Names::of(image.repo_tags, &key) {
        Names::Ours(names) => names.into_iter().next()?,
        // it is theirs by now
        Names::Others => return None,
        // as is one whose name another took
        Names::None => id.clone(),
    };
    Some(Snapshot {
        name,
        id,
        key,
        task,
        bytes: of_label.unwrap_or_else(|| u64::try_from(image.size).unwrap_or_default()),
        created: UNIX_EPOCH + Duration::from_secs(created),
    })
}
