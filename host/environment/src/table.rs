//! The table that settings write an environment as: `[environments.NAME]` of
//! the user or the organisation, `[environment]` of a repository.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sortie_core::action::{ImageBuild, Service};
use sortie_core::network::NetworkRule;

use crate::check::{self, Invalid};
use crate::{Environment, EnvironmentLimits, EnvironmentTest, Image, Origin, SecretSource};

/// An environment as an operator writes it: secrets are bound in it.
pub type OperatorTable = Table<BTreeMap<String, SecretSource>>;

/// An environment as a repository writes it: it can name the secrets that it
/// would like to have, and bind none.
pub type RepositoryTable = Table<WantedSecrets>;

/// An environment as it is written. Every key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Table<S: Default> {
    image: Option<String>,
    build: Option<ImageBuild>,
    setup: Vec<String>,
    maintenance: Vec<String>,
    setup_root: bool,
    cache: Vec<String>,
    secrets: S,
    base: Option<String>,
    variables: BTreeMap<String, String>,
    network: NetworkTable,
    limits: EnvironmentLimits,
    test: Option<EnvironmentTest>,
    service: Vec<Service>,
}

/// `[environment.network]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct NetworkTable {
    setup: Option<NetworkRule>,
    agent: Option<NetworkRule>,
}

/// Names of secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedSecrets(Vec<String>);

impl<'de> Deserialize<'de> for WantedSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = WantedSecrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of names: a repository binds no secrets, `[environments.NAME.secrets]` of the \
                     user's or the organisation's settings does",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
                let mut wanted = Vec::new();
                while let Some(name) = names.next_element()? {
                    wanted.push(name);
                }
                Ok(WantedSecrets(wanted))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl Table<BTreeMap<String, SecretSource>> {
    /// Takes relative paths of secrets to lie in `folder`.
    pub fn place_in(&mut self, folder: &Path) {
        for source in self.secrets.values_mut() {
            if let SecretSource::File(path) = source
                && let Some(placed) = folder.join(&*path).to_str()
            {
                *path = placed.to_owned();
            }
        }
    }

    /// The operator's environment of `origin`.
    ///
    /// # Errors
    /// If something is said that cannot hold, or too much.
    pub fn into_environment(self, origin: Origin) -> Result<Environment, Invalid> {
        let secrets = self.secrets.clone();
        check_secrets(secrets.keys(), &self.variables)?;
        for (name, source) in &secrets {
            let is_place = match source {
                SecretSource::Variable(variable) => !variable.is_empty() && !variable.contains(['\0', '=']),
                SecretSource::File(path) => !path.is_empty() && !path.contains('\0'),
            };
            if !is_place {
                return Err(Invalid::new(format!("secrets.{name}"), "it does not say where the value is"));
            }
        }
        Ok(Environment { secrets, ..self.common(origin)? })
    }
}

impl Table<WantedSecrets> {
    /// The repository's environment.
    ///
    /// # Errors
    /// If something is said that cannot hold, or too much.
    pub fn into_environment(self) -> Result<Environment, Invalid> {
        let wanted_secrets = self.secrets.0.clone();
        check_secrets(wanted_secrets.iter(), &self.variables)?;
        Ok(Environment { wanted_secrets, ..self.common(Origin::Repository)? })
    }
}

impl<S: Default> Table<S> {
    /// All but the secrets.
    fn common(self, origin: Origin) -> Result<Environment, Invalid> {
        check::commands("setup", &self.setup)?;
        check::commands("maintenance", &self.maintenance)?;
        check::variables("variables", &self.variables)?;
        check::services(&self.service)?;
        check::limits(&self.limits)?;
        check::count("cache", self.cache.len())?;
        let cache =
            self.cache.iter().map(|path| check::cache_path("cache", path)).collect::<Result<_, _>>()?;
        self.test.as_ref().map_or(Ok(()), check::test)?;
        self.base.as_deref().map_or(Ok(()), check::base)?;
        Ok(Environment {
            origin,
            image: image(self.image, self.build)?,
            setup: self.setup,
            maintenance: self.maintenance,
            setup_root: self.setup_root,
            services: self.service,
            variables: self.variables,
            setup_network: self.network.setup,
            agent_network: self.network.agent,
            limits: self.limits,
            cache,
            test: self.test,
            base: self.base,
            ..Environment::default()
        })
    }
}

fn image(name: Option<String>, build: Option<ImageBuild>) -> Result<Option<Image>, Invalid> {
    match (name, build) {
        (Some(_), Some(_)) => Err(Invalid::new("image", "there is `build` as well; only one of the two")),
        (Some(name), None) => {
            check::image("image", &name)?;
            Ok(Some(Image::Named(name)))
        }
        (None, Some(build)) => Ok(Some(Image::Built(check::build("build", build)?))),
        (None, None) => Ok(None),
    }
}

/// Secrets are held by variables of their own.
fn check_secrets<'a>(
    names: impl ExactSizeIterator<Item = &'a String>,
    variables: &BTreeMap<String, String>,
) -> Result<(), Invalid> {
    check::count("secrets", names.len())?;
    for name in names {
        check::variable_name("secrets", name)?;
        if variables.contains_key(name) {
            return Err(Invalid::new("secrets", format!("`{name}` is one of `variables` as well")));
        }
    }
    Ok(())
}
