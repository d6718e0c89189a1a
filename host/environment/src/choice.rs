//! Which environment holds where several are described, and who says what it leaves open.
//!
//! The first that says something holds, whole: the operator's, the repository's, what its manifests suggest. An image
//! and the commands of set-up may be said beside it as well; [`Choice`] knows that order, and nobody else has to.

use sortie_core::image::{ImageRegistries, UnwantedImage};
use sortie_core::text::one_line;

use crate::{Environment, Image, Origin};

/// What does not hold of an environment, for people: more are counted.
const NOTICES: usize = 50;
/// Characters of one.
const NOTICE: usize = 500;

/// How dependencies are installed where no environment says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Install {
    /// With the usual command of the toolchain that is detected, if any.
    #[default]
    Detect,
    /// With this command line, by `sh -c`.
    Command(String),
    /// Not at all.
    Skip,
}

/// Who says a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment that holds.
    Environment,
    /// The operator, for all tasks or for this one.
    Operator,
    /// The repository, beside its environment.
    Repository,
}

/// A value and who says it, or nobody: then the manifests suggest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// Somebody does.
    By(Source, T),
    /// Nobody does.
    Nobody,
}

/// An environment binds secrets, and the repository would choose what is given them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origin} binds secrets and names no `setup`: whatever the repository has there would be given them\nhint: `setup = \
     [\"…\"]` below it names the commands that are"
)]
pub struct NoSetUp {
    /// The environment.
    pub origin: Origin,
}

/// An environment asks for what only containers have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origin} asks for {what}, which the built-in sandbox has not\nhint: `--workspace docker`, or `--env none` for what \
     the repository's manifests suggest"
)]
pub struct NeedsContainer {
    /// The environment.
    pub origin: Origin,
    /// What it asks for.
    pub what: String,
}

/// What everybody says. Who says nothing is `None`.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// The environment that the operator names; one whose origin is [`Origin::Detected`] keeps the repository's from
    /// counting.
    pub named: Option<Environment>,
    /// The one that the repository describes.
    pub own: Option<Environment>,
    /// The operator's image.
    pub image: Option<String>,
    /// The operator's word on set-up.
    pub install: Install,
    /// The repository's.
    pub own_install: Option<Install>,
    /// Whether workspaces have images, which a `devcontainer.json` describes.
    pub has_images: bool,
}

/// The environment of a task.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What holds.
    pub environment: Environment,
    /// Whether the operator names it.
    pub is_named: bool,
    /// What does not hold of what was said, for people.
    pub notices: Vec<String>,
    image: Option<String>,
    install: Install,
    own_install: Option<Install>,
}

impl Choice {
    /// Chooses.
    pub fn of(offers: Offers) -> Self {
        let Offers { named, own, image, install, own_install, has_images } = offers;
        let is_named = named.is_some();
        let mut environment = named.or(own).unwrap_or_default();
        let origin = environment.origin.clone();
        let mut notices = Vec::new();
        if let (Some(image), false) = (&image, has_images) {
            notices.push(one_line(
                &format!("the image `{image}` does not hold: the sandbox has this machine's system, `--workspace docker` an image's"),
                NOTICE,
            ));
        }
        if !has_images && matches!(origin, Origin::Devcontainer(_)) {
            notices.push(format!("{origin} describes a container: it holds with `--workspace docker`"));
            environment = Environment::default();
        }
        let said = environment.notices.iter().take(NOTICES);
        notices.extend(said.map(|notice| one_line(&format!("{origin}: {notice}"), NOTICE)));
        if let Some(more @ 1..) = environment.notices.len().checked_sub(NOTICES) {
            notices.push(format!("{origin}: {more} more things in it do not hold"));
        }
        Self { environment, is_named, notices, image, install, own_install }
    }

    /// What containers begin from. An operator's word for all tasks goes before what a repository names, and gives way
    /// to what an operator names for this one.
    pub fn image(&self) -> Said<Image> {
        match (&self.environment.image, &self.image) {
            (Some(image), _) if self.is_named => Said::By(Source::Environment, image.clone()),
            (_, Some(name)) => Said::By(Source::Operator, Image::Named(name.clone())),
            (Some(image), None) => Said::By(Source::Environment, image.clone()),
            (None, None) => Said::Nobody,
        }
    }

    /// The image that somebody names who is not the repository: neither what that names nor what its Dockerfile
    /// makes, whoever chose that. Without one, what stands for the toolchain can be relied on.
    pub fn trusted_image(&self) -> Option<String> {
        let own = match &self.environment.image {
            Some(Image::Named(name)) if self.is_named => Some(name.clone()),
            _ => None,
        };
        own.or_else(|| self.image.clone())
    }

    /// The images that the repository names: that of the container, if no operator's goes before it, and its services'.
    pub fn images_of_repository(&self) -> Vec<String> {
        if !self.environment.origin.is_repositorys() {
            return Vec::new();
        }
        let own = match &self.environment.image {
            Some(Image::Named(name)) if self.image.is_none() => Some(name.clone()),
            _ => None,
        };
        own.into_iter().chain(self.environment.services.iter().map(|service| service.image.clone())).collect()
    }

    /// Whether the engine may be asked for what the repository names. What a Dockerfile names is told when it is read.
    ///
    /// # Errors
    /// If an image is of a registry that is neither the engine's own nor one of these, or has no name.
    pub fn check_images(&self, registries: &ImageRegistries) -> Result<(), UnwantedImage> {
        self.images_of_repository().iter().try_for_each(|image| registries.check(image))
    }

    /// Whether the built-in sandbox has all that is asked for.
    ///
    /// # Errors
    /// If it has not.
    pub fn check_sandbox(&self) -> Result<(), NeedsContainer> {
        let asked = [
            (!self.environment.services.is_empty(), "services"),
            (self.environment.setup_root, "set-up as root"),
            (matches!(self.image(), Said::By(_, Image::Built(_))), "a Dockerfile"),
        ];
        let what: Vec<_> = asked.iter().filter(|(is_asked, _)| *is_asked).map(|(_, what)| *what).collect();
        match what.is_empty() {
            true => Ok(()),
            false => Err(NeedsContainer { origin: self.environment.origin.clone(), what: what.join(", ") }),
        }
    }

    /// The command lines of set-up.
    ///
    /// # Errors
    /// If the repository would choose what is given the secrets of an operator.
    pub fn set_up(&self) -> Result<Said<Vec<String>>, NoSetUp> {
        let environment = &self.environment;
        if !environment.setup.is_empty() {
            return Ok(Said::By(Source::Environment, environment.setup.clone()));
        }
        check_secrets(environment, &self.install)?;
        let own = self.own_install.as_ref().filter(|_| environment.secrets.is_empty());
        let (source, install) = match own {
            Some(install) => (Source::Repository, install),
            None => (Source::Operator, &self.install),
        };
        Ok(match install {
            Install::Skip => Said::By(source, Vec::new()),
            Install::Command(line) => Said::By(source, vec![line.clone()]),
            // who says what an environment is, and names maintenance alone, wants no set-up
            Install::Detect if is_maintained(environment) => Said::By(Source::Environment, Vec::new()),
            Install::Detect => Said::Nobody,
        })
    }
}

fn is_maintained(environment: &Environment) -> bool {
    environment.origin != Origin::Detected && !environment.maintenance.is_empty()
}

/// Whether an operator who binds secrets also says what is given them: commands of the environment, or those that
/// they install with everywhere.
///
/// # Errors
/// If nobody but the repository does.
pub fn check_secrets(environment: &Environment, install: &Install) -> Result<(), NoSetUp> {
    let is_said = !environment.setup.is_empty() || is_maintained(environment) || *install != Install::Detect;
    match environment.secrets.is_empty() || is_said {
        true => Ok(()),
        false => Err(NoSetUp { origin: environment.origin.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use sortie_core::action::Service;

    use super::*;
    use crate::SecretSource;

    fn named(name: &str) -> Environment {
        Environment { origin: Origin::User(name.into()), ..Environment::default() }
    }

    fn own() -> Environment {
        Environment { origin: Origin::Repository, ..Environment::default() }
    }

    fn with_image(image: &str, environment: Environment) -> Environment {
        Environment { image: Some(Image::Named(image.into())), ..environment }
    }

    fn bound(environment: Environment) -> Environment {
        let secrets = [("TOKEN".to_owned(), SecretSource::Variable("T".into()))].into();
        Environment { secrets, ..environment }
    }

    #[test]
    fn the_operators_image_goes_before_the_repositorys_and_after_that_of_the_environment_they_name() {
        let image = |named: Option<Environment>, own: Option<Environment>, image: Option<&str>| {
            let offers = Offers { named, own, image: image.map(str::to_owned), ..Offers::default() };
            let choice = Choice::of(Offers { has_images: true, ..offers });
            let chosen = match choice.image() {
                Said::By(_, Image::Named(name)) => name,
                other => format!("{other:?}"),
            };
            (chosen, choice.trusted_image())
        };
        let (theirs, ours) = (with_image("theirs", own()), with_image("ours", named("ci")));
        assert_eq!(image(None, Some(theirs.clone()), None), ("theirs".into(), None));
        let trusted = Some("all".to_owned());
        assert_eq!(image(None, Some(theirs), Some("all")), ("all".into(), trusted.clone()));
        assert_eq!(image(Some(ours), None, Some("all")), ("ours".into(), Some("ours".into())));
        assert_eq!(image(Some(named("ci")), None, Some("all")), ("all".into(), trusted));
        assert_eq!(image(None, None, None), ("Nobody".into(), None));
    }

    #[test]
    fn what_a_repository_names_comes_from_no_registry_that_nobody_listed() {
        let service = |image: &str| Service { name: "db".into(), image: image.into(), ..Service::default() };
        let with_service =
            |environment: Environment| Environment { services: vec![service("a.b/db")], ..environment };
        let names = |named: Option<Environment>, own: Option<Environment>, image: Option<&str>| {
            let offers = Offers { named, own, image: image.map(str::to_owned), ..Offers::default() };
            let choice = Choice::of(Offers { has_images: true, ..offers });
            let is_checked = choice.check_images(&ImageRegistries::default()).is_ok();
            assert_eq!(is_checked, choice.images_of_repository().is_empty(), "all of these name a registry");
            choice.images_of_repository()
        };
        let theirs = || with_image("a.b/c", with_service(own()));
        assert_eq!(names(None, Some(theirs()), None), ["a.b/c", "a.b/db"]);
        assert_eq!(names(None, Some(theirs()), Some("a.b/all")), ["a.b/db"]);
        let ours = with_image("a.b/ours", with_service(named("ci")));
        assert_eq!(names(Some(ours), Some(theirs()), None), [""; 0]);
        let origin = Origin::Devcontainer(".devcontainer.json".into());
        assert_eq!(names(None, Some(Environment { origin, ..theirs() }), None), ["a.b/c", "a.b/db"]);
    }

    #[test]
    fn a_devcontainer_holds_where_there_are_images() {
        let own = Environment {
            origin: Origin::Devcontainer(".devcontainer.json".into()),
            setup: vec!["make".into()],
            notices: vec!["`features`: not installed".into()],
            ..Environment::default()
        };
        let choice =
            |has_images| Choice::of(Offers { own: Some(own.clone()), has_images, ..Offers::default() });
        assert_eq!(choice(true).environment, own);
        assert_eq!(choice(true).notices, [".devcontainer.json: `features`: not installed"]);
        assert_eq!(choice(false).environment, Environment::default());
        assert!(choice(false).notices[0].contains("--workspace docker"));
    }

    #[test]
    fn an_image_that_a_sandbox_cannot_have_is_told_of() {
        let choice = |has_images| {
            Choice::of(Offers { image: Some("debian".into()), has_images, ..Offers::default() }).notices
        };
        assert_eq!(choice(true), Vec::<String>::new());
        assert!(choice(false)[0].contains("`debian` does not hold"), "{:?}", choice(false));
    }

    #[test]
    fn a_repository_that_says_much_that_does_not_hold_is_told_so_in_few_lines() {
        let own = Environment { notices: vec!["x".repeat(5000); 10_000], ..own() };
        let notices = Choice::of(Offers { own: Some(own), ..Offers::default() }).notices;
        assert_eq!(notices.len(), NOTICES + 1);
        assert!(notices.iter().all(|notice| notice.len() < 2 * NOTICE));
        assert!(notices[NOTICES].ends_with("9950 more things in it do not hold"), "{}", notices[NOTICES]);
    }

    #[test]
    fn a_repository_chooses_no_command_that_is_given_an_operators_secret() {
        let set_up = |environment: Environment, install: Install, own_install: Option<Install>| {
            let named = Some(environment);
            Choice::of(Offers { named, install, own_install, ..Offers::default() }).set_up()
        };
        let theirs = || Some(Install::Command("theirs".into()));
        let ours = || Install::Command("ours".into());
        let refused = set_up(bound(named("ci")), Install::Detect, None).expect_err("nobody says it");
        assert!(refused.to_string().starts_with("`ci` of the user's settings binds secrets and names no"));
        assert!(set_up(bound(named("ci")), Install::Detect, theirs()).is_err());
        let by_operator = Ok(Said::By(Source::Operator, vec!["ours".into()]));
        assert_eq!(set_up(bound(named("ci")), ours(), theirs()), by_operator);
        let maintained = Environment { maintenance: vec!["m".into()], ..bound(named("ci")) };
        let none = Ok(Said::By(Source::Environment, Vec::new()));
        assert_eq!(set_up(maintained, Install::Detect, theirs()), none);
        // without a secret it may
        let by_repository = Ok(Said::By(Source::Repository, vec!["theirs".into()]));
        assert_eq!(set_up(named("ci"), ours(), theirs()), by_repository);
        assert_eq!(set_up(named("ci"), Install::Detect, None), Ok(Said::Nobody));
    }
}
