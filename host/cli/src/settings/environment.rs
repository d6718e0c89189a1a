//! The environment that an operator names.

use sortie_environment::{Environment, Origin};

use super::file::SettingsFile;
use crate::exit::Failure;

/// The name that stands for what a repository's manifests suggest.
pub(crate) const NONE: &str = "none";

/// The environment of this name: the user's, else the organisation's. One
/// whose origin is [`Origin::Detected`] says that what settings and the
/// repository say does not count.
///
/// # Errors
/// If there is no such environment, or it says what cannot hold.
pub(crate) fn named(
    name: &str,
    user: &SettingsFile,
    organisation: &SettingsFile,
) -> anyhow::Result<Environment> {
    if name == NONE {
        return Ok(Environment::default());
    }
    let (table, origin, whose) = if let Some(table) = user.environments.get(name) {
        (table, Origin::User(name.to_owned()), "user")
    } else if let Some(table) = organisation.environments.get(name) {
        (table, Origin::Organisation(name.to_owned()), "organisation")
    } else {
        return Err(unknown(name, user, organisation));
    };
    let environment = table.clone().into_environment(origin);
    environment
        .map_err(|error| Failure::usage(format!("the {whose}'s settings: environments.{name}.{error}")))
}

fn unknown(name: &str, user: &SettingsFile, organisation: &SettingsFile) -> anyhow::Error {
    let mut known: Vec<_> =
        user.environments.keys().chain(organisation.environments.keys()).map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    let there = match known.as_slice() {
        [] => "the settings have none".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    };
    Failure::usage(format!(
        "no environment named `{name}`; {there}\nhint: `[environments.NAME]` makes one; `none` stands for what the repository's manifests suggest"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::parse;

    fn file(text: &str) -> SettingsFile {
        parse(text, "config.toml").expect("settings")
    }

    #[test]
    fn the_users_environment_goes_before_the_organisations_of_the_same_name() {
        let user = file("[environments.ci]\nimage = \"mine\"\n");
        let organisation =
            file("[environments.ci]\nimage = \"theirs\"\n[environments.gpu]\nsetup = [\"true\"]\n");
        let origin = |name| named(name, &user, &organisation).expect("there is one").origin;
        assert_eq!(origin("ci"), Origin::User("ci".into()));
        assert_eq!(origin("gpu"), Origin::Organisation("gpu".into()));
        assert_eq!(origin("none"), Origin::Detected);
        let error = named("cy", &user, &organisation).expect_err("there is none").to_string();
        assert!(error.starts_with("no environment named `cy`; there are: ci, gpu\n"), "{error}");
    }

    #[test]
    fn an_environment_that_cannot_hold_is_named_with_its_key() {
        let user = file("[environments.ci]\nimage = \"--privileged\"\n");
        let error = named("ci", &user, &SettingsFile::default()).expect_err("it is none").to_string();
        assert!(error.starts_with("the user's settings: environments.ci.image: `--privileged`"), "{error}");
    }
}
