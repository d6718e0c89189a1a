//! Images.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bollard::BollardRequest;
use bollard::models::{CreateImageInfo, ImageConfig, ImageInspect};
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use sortie_core::text::one_line;

use super::credentials::{self, Credentials};
use super::engine::Engine;
use super::error::{ContainerError, reason};
use super::{NamedBy, USERS_LABEL, shape};

/// Between two words on how far it has come.
const PAUSE: Duration = Duration::from_millis(500);
/// Without a word of the engine's for so long, a pull is given up.
const SILENCE: Duration = Duration::from_secs(300);
/// Layers that are added up; of a longer image the rest shows late.
const LAYERS: usize = 1000;

/// What a container needs to know of its image and engine.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Its id.
    pub(super) id: String,
    /// The variables that it sets.
    pub(super) environment: Vec<(String, String)>,
    /// Whether its own `/etc/passwd` knows the commands' user, and what others a set-up made.
    pub(super) knows_users: bool,
    /// What it says of a container's start.
    pub(super) config: ImageConfig,
    /// The engine's security options.
    pub(super) security: Vec<String>,
}

impl Engine {
    /// The image of an id, or of a name that an operator or we ourselves say.
    pub(super) async fn image(&self, name: &str) -> Result<Image, ContainerError> {
        self.image_by(name, &NamedBy::Operator).await
    }

    /// What the engine has by a name, if whoever names it may.
    pub(super) async fn image_by(&self, name: &str, by: &NamedBy) -> Result<Image, ContainerError> {
        by.check(name)?;
        let image = self.inspect(name).await.map_err(|error| failed(name, reason(&error)))?;
        by.check_found(name, &image)?;
        let id = id(image.id).ok_or_else(|| failed(name, "the engine gives no id of it".to_owned()))?;
        let config = image.config.unwrap_or_default();
        let pair =
            |line: &String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let users = config.labels.as_ref().and_then(|labels| labels.get(USERS_LABEL));
        Ok(Image {
            id,
            environment: config.env.iter().flatten().filter_map(pair).collect(),
            knows_users: users.is_some_and(|users| *users == shape::user(self.about()).to_string()),
            config,
            security: self.security.clone(),
        })
    }

    /// The id (`sha256:…`) of the image that a name stands for. It is pulled, if the engine does not have it.
    ///
    /// # Errors
    /// As [`Engine::pull`].
    pub async fn identify(
        &self,
        name: &str,
        by: &NamedBy,
        progress: impl FnMut(&str),
    ) -> Result<String, ContainerError> {
        self.pull(name, by, progress).await?;
        Ok(self.image_by(name, by).await?.id)
    }

    /// Whether the engine has this image. It is never pulled.
    ///
    /// # Errors
    /// If whoever names it may not, or the engine does not answer.
    pub async fn has_named(&self, name: &str, by: &NamedBy) -> Result<bool, ContainerError> {
        by.check(name)?;
        match self.inspect(name).await {
            Ok(found) => Ok(by.check_found(name, &found).map(|()| true)?),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(failed(name, reason(&error))),
        }
    }

    /// Has the engine pull an image, unless it is there, with the credentials that its own client would use.
    /// `progress` hears at most twice a second how far it has come, in one line.
    ///
    /// # Errors
    /// [`ContainerError::Unwanted`] if whoever names it may not, and nobody was asked for it. Otherwise if the name is
    /// none, or the engine cannot get it, falls silent for 5 minutes, or has no room for it.
    pub async fn pull(
        &self,
        name: &str,
        by: &NamedBy,
        mut progress: impl FnMut(&str),
    ) -> Result<(), ContainerError> {
        by.check(name)?;
        match self.inspect(name).await {
            Ok(_) => return Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(failed(name, reason(&error))),
        }
        let (repository, tag) = parts(name).ok_or_else(|| failed(name, "that is no name".to_owned()))?;
        if repository == "sha256" {
            return Err(failed(name, "the engine has no image of this id any more".to_owned()));
        }
        let credentials = self.credentials(name).await.map_err(|reason| failed(name, reason))?;
        let reason = |error: &bollard::errors::Error| match &credentials {
            Some(credentials) => credentials.scrub(&reason(error)),
            None => reason(error),
        };
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            // without one, all tags would be pulled
            tag: Some(tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let given = credentials.as_ref().map(Credentials::expose);
        let api = self.api.clone().with_request_modifier(with_url_alphabet);
        let mut words = api.create_image(Some(options), None, given);
        let mut layers = BTreeMap::new();
        let mut told: Option<Instant> = None;
        loop {
            let word = tokio::time::timeout(SILENCE, words.next()).await;
            let word = word.map_err(|_| failed(name, "the engine fell silent".to_owned()))?;
            let Some(word) = word else { break };
            add_up(&mut layers, word.map_err(|error| failed(name, reason(&error)))?);
            if told.is_none_or(|told| told.elapsed() >= PAUSE) {
                told = Some(Instant::now());
                progress(&far(name, &layers));
                let free = self.space().bytes;
                if free < self.free {
                    let (free, wanted) = (free >> 20, self.free >> 20);
                    let reason = format!(
                        "it would leave {free} MiB free on the engine's disk, and {wanted} are to stay free"
                    );
                    return Err(failed(name, reason));
                }
            }
        }
        self.inspect(name).await.map(drop).map_err(|error| failed(name, reason(&error)))
    }

    /// What its client has kept for the registry of an image.
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, String> {
        let registry = credentials::registry(name, &self.registry);
        credentials::find(self.about().kind, registry, |name| std::env::var_os(name)).await
    }

    pub(super) async fn inspect(&self, name: &str) -> Result<ImageInspect, bollard::errors::Error> {
        self.api.inspect_image(name).await
    }
}

/// Engines read credentials in the alphabet of addresses, and take those in the usual one for none.
fn with_url_alphabet(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
        let other = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        };
        let bytes: Vec<u8> = value.as_bytes().iter().map(other).collect();
        *value = http::HeaderValue::from_bytes(&bytes).expect("letters were exchanged for others");
        value.set_sensitive(true);
    }
    request
}

/// Repository and tag, or digest, of a name. Anything that would mean something else in the engine's address is
/// none.
pub(super) fn parts(name: &str) -> Option<(&str, &str)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    if name.is_empty() || name.len() > 512 || !name.bytes().all(plain) {
        return None;
    }
    let parts = match name.split_once('@') {
        Some(parts) => parts,
        None => match name.rsplit_once(':') {
            // a colon before a slash is a registry's port
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        },
    };
    Some(parts).filter(|(repository, tag)| !repository.is_empty() && !tag.is_empty() && !tag.contains('@'))
}

/// Bytes that are there, and that there will be, by layer.
type Layers = BTreeMap<String, (u64, u64)>;

fn add_up(layers: &mut Layers, word: CreateImageInfo) {
    let (Some(id), Some(detail)) = (word.id, word.progress_detail) else { return };
    let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    // extracting counts again from nothing: only what is downloaded is added up
    if let (Some("Downloading"), Some(current), Some(total)) =
        (word.status.as_deref(), number(detail.current), number(detail.total))
        && (layers.len() < LAYERS || layers.contains_key(&id))
    {
        layers.insert(id, (current, total));
    }
}

fn far(name: &str, layers: &Layers) -> String {
    let sum = |part: fn(&(u64, u64)) -> u64| layers.values().map(part).fold(0, u64::saturating_add) >> 20;
    let name = one_line(name, 200);
    match sum(|layer| layer.1) {
        0 => format!("pulling {name}"),
        total => format!("pulling {name}: {} of {total} MiB", sum(|layer| layer.0)),
    }
}

/// With the algorithm, which some engines leave out.
pub(super) fn id(id: Option<String>) -> Option<String> {
    let id = id.filter(|id| !id.is_empty())?;
    Some(if id.contains(':') { id } else { format!("sha256:{id}") })
}

pub(super) fn failed(image: &str, reason: String) -> ContainerError {
    ContainerError::Image { image: one_line(image, 200), reason }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn a_name_is_taken_apart_as_dockers_client_does() {
        assert_eq!(parts("debian"), Some(("debian", "latest")));
        assert_eq!(parts("a/b:1.2"), Some(("a/b", "1.2")));
        assert_eq!(parts("localhost:5000/a"), Some(("localhost:5000/a", "latest")));
        assert_eq!(parts("localhost:5000/a:2"), Some(("localhost:5000/a", "2")));
        assert_eq!(parts("a:1@sha256:00"), Some(("a:1", "sha256:00")));
        for none in ["", ":1", "a:", "a@", "a b", "a?tag=b", "a&x=1", "a@b@c", "\u{e9}"] {
            assert_eq!(parts(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_downloaded_is_added_up() {
        let word = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::new();
        assert_eq!(far("a", &layers), "pulling a");
        add_up(&mut layers, word("x", "Downloading", 1 << 20, 4 << 20));
        add_up(&mut layers, word("x", "Downloading", 2 << 20, 4 << 20));
        add_up(&mut layers, word("y", "Downloading", 3 << 20, 3 << 20));
        add_up(&mut layers, word("y", "Extracting", 0, 9 << 20));
        add_up(&mut layers, word("z", "Downloading", -1, -1));
        assert_eq!(far("a", &layers), "pulling a: 5 of 7 MiB");
    }
}
