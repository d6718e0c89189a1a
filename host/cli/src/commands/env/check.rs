//! `sortie env check`: whether what a task would be given can be had. Nothing
//! is pulled, built or run.

use sortie_core::action::ImageBuild;
use sortie_core::text::one_line;
use sortie_environment::{Image, Said, check_secrets};
use sortie_workspace::container::{Engine, NamedBy, images_of_dockerfile};
use sortie_workspace::sandbox::Cgroups;

use super::chosen::Chosen;
use crate::args::CheckArguments;
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;
use crate::secret;
use crate::settings::named;
use crate::workspaces::{SANDBOX, limits};

/// Bytes of a Dockerfile.
const DOCKERFILE: usize = 1 << 20;

pub(super) async fn run(places: &Places, arguments: CheckArguments) -> anyhow::Result<Exit> {
    let chosen = Chosen::read(places, arguments.of)?;
    let mut found = Found::default();
    found.other_environments(&chosen);
    found.secrets(&chosen);
    found.dockerfile(&chosen);
    if chosen.backend == SANDBOX {
        if let Err(error) = chosen.choice.check_sandbox() {
            found.problem(error);
        }
        found.limits(&chosen);
    } else {
        found.images(&chosen).await;
    }
    let notices = chosen.choice.notices.iter().chain(&found.notes);
    for note in notices {
        print::tell(format_args!("note: {}", one_line(note, 500)));
    }
    let unbound = chosen.unbound();
    if !unbound.is_empty() {
        let names = one_line(&unbound.join(", "), 300);
        print::tell(format_args!(
            "note: secrets that the repository would like to have and nobody bound: {names}"
        ));
    }
    if !found.problems.is_empty() {
        return Err(Failure::usage(found.problems.join("\n")));
    }
    print::give(format_args!("this can be had: {}", chosen.environment().origin));
    Ok(Exit::Done)
}

/// What is wrong, and what people should know.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    notes: Vec<String>,
    /// Images of the Dockerfile.
    bases: Vec<String>,
}

impl Found {
    /// Those of the settings that are not chosen here: the chosen one was read.
    fn other_environments(&mut self, chosen: &Chosen) {
        let (user, organisation) = (&chosen.user, &chosen.organisation);
        for name in user.environments.keys().chain(organisation.environments.keys()) {
            if let Err(error) = named(name, user, organisation) {
                self.problem(error);
            }
        }
        // of a name that both have, the organisation's is hidden
        for name in organisation.environments.keys().filter(|name| user.environments.contains_key(*name)) {
            if let Err(error) = named(name, &crate::settings::SettingsFile::default(), organisation) {
                self.problem(error);
            }
        }
    }

    /// What a sandbox may not be able to keep.
    fn limits(&mut self, chosen: &Chosen) {
        let mut limits = limits(&chosen.settings.workspace);
        limits.cpus = limits.cpus.or(chosen.environment().limits.cpus);
        if let Err(error) = Cgroups::find().keep(&limits) {
            self.problem(error);
        }
    }

    fn secrets(&mut self, chosen: &Chosen) {
        if let Err(error) = check_secrets(chosen.environment(), &chosen.settings.install) {
            self.problem(error);
        }
        for (name, source) in &chosen.environment().secrets {
            if let Err(error) = secret::read(name, source) {
                self.problem(error);
            }
        }
    }

    fn dockerfile(&mut self, chosen: &Chosen) {
        let Some(Image::Built(build)) = &chosen.environment().image else { return };
        match chosen.files.read(&build.dockerfile, DOCKERFILE) {
            Ok(Some(text)) => {
                if matches!(chosen.choice.image(), Said::By(_, Image::Built(_))) {
                    self.bases(&String::from_utf8_lossy(&text), build);
                }
            }
            Ok(None) => self.problem(format!(
                "{}: the repository has no `{}`",
                chosen.environment().origin,
                one_line(&build.dockerfile, 100)
            )),
            Err(error) => self.problem(error),
        }
    }

    /// What the Dockerfile starts from.
    fn bases(&mut self, text: &str, build: &ImageBuild) {
        match images_of_dockerfile(text, build) {
            Ok(bases) => self.bases = bases,
            Err(error) => self.problem(format!("{}: {error}", one_line(&build.dockerfile, 100))),
        }
    }

    async fn images(&mut self, chosen: &Chosen) {
        let image = chosen.image().and_then(|row| row.value.as_str().map(str::to_owned));
        let services = chosen.environment().services.iter().map(|service| service.image.clone());
        let (theirs, bases) = (chosen.choice.images_of_repository(), std::mem::take(&mut self.bases));
        let registries = &chosen.settings.workspace.image_registries;
        // the repository wrote the Dockerfile, whoever chose that
        let mut by_repository: Vec<_> = theirs.iter().cloned().chain(bases).collect();
        by_repository.retain(|image| match registries.check(image) {
            Ok(()) => true,
            Err(error) => {
                self.problem(error);
                false
            }
        });
        let by_operator = image.into_iter().chain(services).filter(|image| !theirs.contains(image));
        let by_operator: Vec<_> = by_operator.map(|image| (image, NamedBy::Operator)).collect();
        let by_repository =
            by_repository.into_iter().map(|image| (image, NamedBy::Repository(registries.clone())));
        let engine = match Engine::connect().await {
            Ok(engine) => engine,
            Err(error) => return self.problem(error),
        };
        for (image, by) in by_operator.into_iter().chain(by_repository) {
            match engine.has_named(&image, &by).await {
                Ok(true) => {}
                Ok(false) => {
                    self.notes.push(format!("the image {image} is not here: the first task pulls it"))
                }
                Err(error) => self.problem(error),
            }
        }
    }

    fn problem(&mut self, problem: impl std::fmt::Display) {
        let problem = problem.to_string();
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
