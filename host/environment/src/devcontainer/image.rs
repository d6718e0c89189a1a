//! What the container is made from: an image, or a Dockerfile.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sortie_core::action::ImageBuild;
use sortie_core::text::one_line;

use super::substitute::Substitution;
use super::{Keys, object, text};
use crate::Image;
use crate::check::{self, Invalid};

impl Keys {
    /// None where nothing is named: then there is a default, as anywhere.
    pub(super) fn image(
        &self,
        path: &str,
        substitution: &Substitution<'_>,
    ) -> Result<Option<Image>, Invalid> {
        let empty = Map::new();
        let build = object("build", self.0.get("build"))?.unwrap_or(&empty);
        let dockerfile = match text("build.dockerfile", build.get("dockerfile"))? {
            Some(dockerfile) => Some(("build.dockerfile", dockerfile)),
            // as it was written before there was `build`
            None => self.text("dockerFile")?.map(|dockerfile| ("dockerFile", dockerfile)),
        };
        if let Some((key, dockerfile)) = dockerfile {
            let context = match text("build.context", build.get("context"))? {
                Some(context) => context,
                None => self.text("context")?.unwrap_or("."),
            };
            return self.build(path, (key, dockerfile), context, build, substitution).map(Some);
        }
        if let Some(image) = self.text("image")? {
            let image = substitution.apply(image).map_err(|reason| Invalid::new("image", reason))?;
            check::image("image", &image)?;
            return Ok(Some(Image::Named(image)));
        }
        if self.0.contains_key("dockerComposeFile") {
            return Err(Invalid::new(
                "dockerComposeFile",
                "Compose files are not read; write `[environment]` with `image` and `[[environment.service]]` into \
                 .sortie/config.toml instead",
            ));
        }
        Ok(None)
    }

    fn build(
        &self,
        path: &str,
        (key, dockerfile): (&str, &str),
        context: &str,
        build: &Map<String, Value>,
        substitution: &Substitution<'_>,
    ) -> Result<Image, Invalid> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let place = |key: &str, relative: &str| {
            let relative = substitution.apply(relative).map_err(|reason| Invalid::new(key, reason))?;
            within(key, folder, &relative)
        };
        let mut args = BTreeMap::new();
        for (name, value) in object("build.args", build.get("args"))?.into_iter().flatten() {
            let key = format!("build.args.{}", one_line(name, 60));
            let value = text(&key, Some(value))?.unwrap_or_default();
            let value = substitution.apply(value).map_err(|reason| Invalid::new(key, reason))?;
            args.insert(name.clone(), value);
        }
        let build = ImageBuild {
            dockerfile: place(key, dockerfile)?,
            context: place("build.context", context)?,
            target: text("build.target", build.get("target"))?.map(str::to_owned),
            args,
        };
        check::build("build", build).map(Image::Built)
    }
}

/// A path from a folder of the repository, as one from its root.
fn within(key: &str, folder: &str, relative: &str) -> Result<String, Invalid> {
    let leads_out = || Invalid::new(key, format!("`{}` leads out of the repository", one_line(relative, 60)));
    if relative.starts_with('/') {
        return Err(leads_out());
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(leads_out)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
