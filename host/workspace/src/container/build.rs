//! Builds an image from a Dockerfile of the repository.
//!
//! By the engine's classic builder, whose steps join the network of a container of ours: their only way out is what
//! listens there at 127.0.0.1, which is the egress proxy. Otherwise they are confined as the engine confines builds.

mod context;
mod dockerfile;
mod steps;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::BollardRequest;
use bollard::query_parameters::{BuildImageOptions, CreateImageOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sortie_core::action::ImageBuild;
use sortie_core::digest::Digest;
use sortie_core::image::ImageRegistries;
use sortie_core::text::{one_line, strip_escapes};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineKind};
use super::error::{ContainerError, reason, step};
use super::{Container, NamedBy, OWNER_LABEL, TASK_LABEL};
use crate::sandbox::{Keeper, Limits};

use context::{Context, Source};
use dockerfile::Dockerfile;
use steps::Steps;

/// The label of an image that was built from a repository's Dockerfile; its value is the tag that it was given.
pub const BUILD_LABEL: &str = "dev.sortie.build";
/// The name of images that were built, before the digest of what they were built from.
const BUILT: &str = "sortie-build";
/// The image of nothing.
const BLANK: &str = "sortie-blank:1";
/// Between two words on how far it has come.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines that an error shows.
const LINES: usize = 20;
/// Bytes of a piece of the context.
const PIECE: usize = 256 << 10;

/// What is built, and within what.
#[derive(Clone, Copy, Debug)]
pub struct BuildConfig<'a> {
    /// The work tree. Nothing runs in it.
    pub work_tree: &'a Path,
    /// What of it.
    pub build: &'a ImageBuild,
    /// Where its Dockerfile, which a repository wrote, may have images from, beside the engine's own registry.
    pub registries: &'a ImageRegistries,
    /// Whose network the steps join. What its configuration masks is not in the context.
    pub network: &'a Container,
    /// How the steps are told of the proxy in it.
    pub proxy: &'a [(String, String)],
    /// Whose it is, for the label.
    pub owner: &'a str,
    /// The task, for the label.
    pub task: &'a str,
    /// What each step may use up: memory, processes and processors. To the disk it may write what the configuration of
    /// the network's container says.
    pub limits: Limits,
    /// How long all of it may take, from pulling and packing to the last step.
    pub most_time: Duration,
}

/// The images that the engine would have to have to build a Dockerfile of this text, each once.
///
/// # Errors
/// Says what of it cannot be, in one line, and in a second one what would help, if that is known.
pub fn images_of_dockerfile(text: &str, build: &ImageBuild) -> Result<Vec<String>, String> {
    let dockerfile = Dockerfile::parse(text)?.up_to(build.target.as_deref())?;
    dockerfile.check()?;
    dockerfile.images(&build.args)
}

impl Engine {
    /// An image without a file: for a container that is there for its network.
    ///
    /// # Errors
    /// If the engine cannot make it.
    pub async fn blank(&self, owner: &str) -> Result<String, ContainerError> {
        if !self.has_image(BLANK).await? {
            let (repository, tag) = BLANK.split_once(':').expect("it has a tag");
            let options = CreateImageOptions {
                from_src: Some("-".to_owned()),
                repo: Some(repository.to_owned()),
                tag: Some(tag.to_owned()),
                changes: vec![format!("LABEL {OWNER_LABEL}={owner}")],
                ..CreateImageOptions::default()
            };
            // the end of an archive, and nothing before it
            let nothing = bollard::body_full(Bytes::from_static(&[0; 1024]));
            let mut words = self.api.create_image(Some(options), Some(nothing), None);
            while let Some(word) = words.next().await {
                word.map_err(|error| step("make an image without files", &error))?;
            }
        }
        Ok(self.image(BLANK).await?.id)
    }

    /// Builds the image and returns its id; one that was built from the same is taken up. The images that it starts from
    /// are pulled. `progress` hears of each step, and at most twice a second of what it says, in one line.
    ///
    /// Cancel-safe: the engine ends a build that nobody listens to.
    ///
    /// # Errors
    /// Says what of the Dockerfile cannot be, or shows the last lines of the build.
    pub async fn build(
        &self,
        config: BuildConfig<'_>,
        progress: impl FnMut(&str),
    ) -> Result<String, ContainerError> {
        match tokio::time::timeout(config.most_time, self.build_at_length(&config, progress)).await {
            Ok(built) => built,
            Err(_) => Err(failed(&config)(format!("it takes longer than {} s", config.most_time.as_secs()))),
        }
    }

    /// However long it takes.
    async fn build_at_length(
        &self,
        config: &BuildConfig<'_>,
        mut progress: impl FnMut(&str),
    ) -> Result<String, ContainerError> {
        let failed = failed(config);
        if self.about().kind == EngineKind::Podman {
            return Err(failed(
                "Podman gives builds no network of another container\nhint: build it yourself (`podman build`), and \
                 name the image"
                    .to_owned(),
            ));
        }
        let source = Source::read(config.work_tree, config.build).map_err(&failed)?;
        let named = images_of_dockerfile(&source.text, config.build).map_err(&failed)?;
        let by = NamedBy::Repository(config.registries.clone());
        // nobody is asked for one before all may be asked for
        named.iter().try_for_each(|base| by.check(base))?;
        let mut bases = Vec::new();
        for base in named {
            self.pull(&base, &by, &mut progress).await?;
            let image = self.image_by(&base, &by).await?;
            for trigger in image.config.on_build.iter().flatten() {
                dockerfile::check_trigger(trigger)
                    .map_err(|reason| failed(format!("by `{base}`, {reason}")))?;
            }
            bases.push(image.id);
        }
        let spool = config.network.config.folder.with_extension("context");
        let masks = config.network.config.masks.clone();
        let name = source.name.clone();
        let packed = Context::pack_aside(source, masks, spool, CancellationToken::new()).await;
        let context = packed.map_err(|error| failed(error.to_string()))?;
        let key = Digest::of(format!("{:?}", (context.digest, &name, config.build, bases)).as_bytes());
        let image = format!("{BUILT}:{key}");
        if !self.has_image(&image).await? {
            let steps = Steps::of(self, config.network.id());
            let built = tokio::select! {
                built = self.run(config, &image, &name, context.archive, &mut progress) => built,
                over = steps.bounded(config.limits.processes, config.network.config.disk) => {
                    Err(over.end(self).await)
                }
            };
            built.map_err(failed)?;
        }
        Ok(self.image(&image).await?.id)
    }

    async fn run(
        &self,
        config: &BuildConfig<'_>,
        image: &str,
        dockerfile: &str,
        archive: File,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), String> {
        let api = self.api.clone().with_request_modifier(memory_in_full(self, config.limits));
        let options = options(self, config, image, dockerfile);
        let mut words =
            std::pin::pin!(api.build_image(options, None, Some(bollard::body_try_stream(pieces(archive)))));
        let mut last = VecDeque::new();
        let mut told: Option<Instant> = None;
        while let Some(word) = words.next().await {
            let text = match word {
                Ok(word) => word.stream.unwrap_or_default(),
                Err(error) => {
                    let said: Vec<String> = last.into();
                    return Err(format!("{}; it said last:\n  {}", reason(&error), said.join("\n  ")));
                }
            };
            for line in strip_escapes(&text).lines().map(str::trim_end).filter(|line| !line.is_empty()) {
                let line = one_line(line, 300);
                if line.starts_with("Step ") || told.is_none_or(|told| told.elapsed() >= PAUSE) {
                    told = Some(Instant::now());
                    progress(&format!("building: {line}"));
                }
                last.push_back(line);
                last.drain(..last.len().saturating_sub(LINES));
            }
        }
        Ok(())
    }
}

fn failed(config: &BuildConfig<'_>) -> impl Fn(String) -> ContainerError {
    let dockerfile = one_line(&config.build.dockerfile, 200);
    move |reason| ContainerError::Build { dockerfile: dockerfile.clone(), reason }
}

fn options(engine: &Engine, config: &BuildConfig<'_>, image: &str, dockerfile: &str) -> BuildImageOptions {
    let key = image.split_once(':').map_or(image, |(_, key)| key);
    let labels = [(OWNER_LABEL, config.owner), (TASK_LABEL, config.task), (BUILD_LABEL, key)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut arguments: HashMap<_, _> = config.build.args.clone().into_iter().collect();
    // ours win: what a repository says must not hide the way out
    arguments.extend(config.proxy.iter().cloned());
    let kept = engine.about().enforced();
    let quota = config.limits.cpus.filter(|_| kept.cpus).map(quota);
    BuildImageOptions {
        dockerfile: dockerfile.to_owned(),
        t: Some(image.to_owned()),
        rm: true,
        forcerm: true,
        cpuperiod: quota.map(|_| PERIOD),
        cpuquota: quota,
        buildargs: Some(arguments),
        labels: Some(labels.into()),
        networkmode: Some(format!("container:{}", config.network.id())),
        target: config.build.target.clone().unwrap_or_default(),
        ..BuildImageOptions::default()
    }
}

/// Microseconds of a scheduler's period.
const PERIOD: i32 = 100_000;

#[expect(
    clippy::cast_possible_truncation,
    reason = "it saturates, and nobody has twenty thousand processors"
)]
fn quota(cpus: f64) -> i32 {
    (cpus * f64::from(PERIOD)) as i32
}

/// The options hold memory in a number that ends at 2 GiB, the engine's does not: so it goes into the address.
fn memory_in_full(
    engine: &Engine,
    limits: Limits,
) -> impl Fn(BollardRequest) -> BollardRequest + Send + Sync + 'static {
    let kept = engine.about().enforced().memory == Keeper::Cgroup;
    move |mut request| {
        if kept && let Some(query) = request.uri().query() {
            let memory = limits.memory;
            let path = request.uri().path();
            let whole =
                format!("{path}?{query}&memory={memory}&memswap={memory}&shmsize={}", limits.shared_memory);
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = whole.parse().ok();
            if let Ok(uri) = http::Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        request
    }
}

/// The archive in pieces, read on a thread of its own.
fn pieces(mut archive: File) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = archive.read(&mut piece);
            let done = !matches!(read, Ok(1..));
            let piece = read.map(|count| {
                piece.truncate(count);
                Bytes::from(piece)
            });
            // nobody listens once the build has ended
            if matches!(&piece, Ok(piece) if piece.is_empty()) || sender.blocking_send(piece).is_err() || done
            {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
}
