//! Who named an image, and what that is worth.
//!
//! An engine resolves a text in more ways than its user may mean: a tag, a whole id, the beginning of an id. To an
//! operator all of these are open. A repository could reach what another one's set-up made, or have the engine call
//! whom it likes: what it names has to be a name, of a registry that it may name, and nothing that a task made.

use bollard::models::ImageInspect;
use sortie_core::image::{ImageName, ImageRegistries, UnwantedImage};
use sortie_core::text::one_line;

/// The labels of what tasks make begin so.
const LABELS: &str = "dev.sortie.";

/// Who named an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Whoever may use the engine anyway, or Sortie itself.
    Operator,
    /// A repository, which may name images of the engine's own registry and of these.
    Repository(ImageRegistries),
}

impl Default for NamedBy {
    /// Whoever has least to say.
    fn default() -> Self {
        Self::Repository(ImageRegistries::default())
    }
}

impl NamedBy {
    /// Whether the engine may be asked for it.
    pub(super) fn check(&self, name: &str) -> Result<(), UnwantedImage> {
        match self {
            Self::Operator => Ok(()),
            Self::Repository(registries) => registries.check(name),
        }
    }

    /// Whether what the engine has by that name is to be used.
    pub(super) fn check_found(&self, name: &str, found: &ImageInspect) -> Result<(), UnwantedImage> {
        if *self == Self::Operator {
            return Ok(());
        }
        let image = || one_line(name, 200);
        let called = found.repo_tags.iter().chain(&found.repo_digests).flatten();
        if !ImageName::parse(name).is_some_and(|name| called.into_iter().any(|called| name.is_of(called))) {
            return Err(UnwantedImage::Id { image: image() });
        }
        let labels = found.config.iter().filter_map(|config| config.labels.as_ref());
        match labels.flat_map(|labels| labels.keys()).find(|label| label.starts_with(LABELS)) {
            Some(label) => Err(UnwantedImage::Ours { image: image(), label: one_line(label, 100) }),
            None => Ok(()),
        }
    }
}
