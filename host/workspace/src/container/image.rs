//! Images.

use super::engine::Engine;
use super::error::{ContainerError, reason};

/// What a container needs to know of its image and engine.
#[derive(Debug)]
pub(super) struct Image {
    /// The variables that it sets.
    pub(super) environment: Vec<(String, String)>,
    /// The engine's security options.
    pub(super) security: Vec<String>,
}

impl Engine {
    pub(super) async fn image(&self, name: &str) -> Result<Image, ContainerError> {
        let image = self
            .api
            .inspect_image(name)
            .await
            .map_err(|error| ContainerError::Image { image: name.to_owned(), reason: reason(&error) })?;
        let environment = image.config.and_then(|config| config.env).unwrap_or_default();
        let pair =
            |line: String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Image {
            environment: environment.into_iter().filter_map(pair).collect(),
            security: self.security.clone(),
        })
    }
}
