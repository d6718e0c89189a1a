//! `devcontainer.json`: what of it holds in a workspace of ours, and by name
//! what does not.
//!
//! The format is the Development Containers Specification's. Its text is the
//! repository's: it is bounded, its paths stay within the repository, and
//! nothing of it reads the host's variables or runs on the host.

mod commands;
mod image;
mod substitute;
mod unsupported;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sortie_core::text::one_line;

use crate::check::{self, Invalid};
use crate::{Environment, Origin};
use substitute::Substitution;

/// Where a repository's `devcontainer.json` lies, the first that is there.
pub const DEVCONTAINERS: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// Bytes of a `devcontainer.json` that are read.
pub const DEVCONTAINER_BYTES: usize = 256 << 10;

/// Where the work tree is in a workspace.
const WORK_TREE: &str = "/workspace";

/// Reads the text of the `devcontainer.json` at `path` of a repository. What
/// is said there and does not hold is in the environment's notices; keys that
/// mean nothing to a task (of editors, and unknown ones) are passed over.
///
/// ```
/// let text = r#"{
///     "image": "python:3.13", // comments and trailing commas are fine
///     "postCreateCommand": ["pip", "install", "-e", "."],
/// }"#;
/// let environment = sortie_environment::devcontainer(".devcontainer.json", text)?;
/// assert_eq!(environment.setup, ["pip install -e ."]);
/// # Ok::<(), sortie_environment::Invalid>(())
/// ```
///
/// # Errors
/// If it is too long, is no JSON, or says what cannot hold. The error begins
/// with the path.
pub fn devcontainer(path: &str, text: &str) -> Result<Environment, Invalid> {
    read(path, text).map_err(|error| Invalid::new(path, error))
}

fn read(path: &str, text: &str) -> Result<Environment, String> {
    let keys = Keys::parse(text)?;
    let mut notices = Vec::new();
    let mut environment = keys.environment(path, &mut notices).map_err(|error| error.to_string())?;
    environment.notices = notices;
    Ok(environment)
}

/// The keys of the outermost object.
struct Keys(Map<String, Value>);

impl Keys {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > DEVCONTAINER_BYTES {
            return Err(format!("larger than {} KiB", DEVCONTAINER_BYTES >> 10));
        }
        let options = jsonc_parser::ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        // some editors write a mark of the byte order
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match jsonc_parser::parse_to_serde_value(text, &options) {
            Ok(Value::Object(keys)) => Ok(Self(keys)),
            Ok(_) => Err("it is no object".into()),
            Err(error) => Err(one_line(&error.to_string(), 200).to_lowercase()),
        }
    }

    fn environment(&self, path: &str, notices: &mut Vec<String>) -> Result<Environment, Invalid> {
        let mut of_container = self.texts("containerEnv", notices)?;
        let substitution = Substitution::new(&of_container);
        let setup = ["onCreateCommand", "updateContentCommand", "postCreateCommand"];
        let setup = self.commands(&setup, &substitution, notices)?;
        let maintenance = self.commands(&["postStartCommand"], &substitution, notices)?;
        let image = self.image(path, &substitution)?;
        let mut variables = self.variables("containerEnv", &of_container, &substitution, notices)?;
        of_container.clone_from(&variables);
        let of_remote = self.texts("remoteEnv", notices)?;
        let substitution = Substitution::new(&of_container);
        variables.extend(self.variables("remoteEnv", &of_remote, &substitution, notices)?);
        check::variables("containerEnv", &variables)?;
        self.unsupported(notices);
        Ok(Environment {
            origin: Origin::Devcontainer(path.to_owned()),
            image,
            setup,
            maintenance,
            setup_root: self.is_root(notices)?,
            variables,
            wanted_secrets: self.wanted_secrets()?,
            ..Environment::default()
        })
    }

    /// A text; `null` is as good as nothing.
    fn text(&self, key: &str) -> Result<Option<&str>, Invalid> {
        text(key, self.0.get(key))
    }

    /// An object of texts. One of `null` takes a variable away, which nothing
    /// here does.
    fn texts(&self, key: &str, notices: &mut Vec<String>) -> Result<BTreeMap<String, String>, Invalid> {
        let mut texts = BTreeMap::new();
        for (name, value) in object(key, self.0.get(key))?.into_iter().flatten() {
            match text(&format!("{key}.{}", one_line(name, 60)), Some(value))? {
                Some(value) => drop(texts.insert(name.clone(), value.to_owned())),
                None => notices.push(format!("`{key}.{}`: no variable is taken away", one_line(name, 60))),
            }
        }
        check::count(key, texts.len())?;
        Ok(texts)
    }

    /// The variables that can be set; the others are named.
    fn variables(
        &self,
        key: &str,
        values: &BTreeMap<String, String>,
        substitution: &Substitution<'_>,
        notices: &mut Vec<String>,
    ) -> Result<BTreeMap<String, String>, Invalid> {
        let mut variables = BTreeMap::new();
        for (name, value) in values {
            let key = format!("{key}.{}", one_line(name, 60));
            check::text(&key, value)?;
            let value = check::variable_name(&key, name)
                .map_err(|error| error.reason)
                .and_then(|()| substitution.apply(value));
            match value {
                Ok(value) => drop(variables.insert(name.clone(), value)),
                Err(reason) => notices.push(format!("`{key}` is not set: {reason}")),
            }
        }
        Ok(variables)
    }

    /// Whether the commands of set-up are root: where the file names that
    /// user. Another name is nobody's in a workspace.
    fn is_root(&self, notices: &mut Vec<String>) -> Result<bool, Invalid> {
        let remote = self.text("remoteUser")?.map(|user| ("remoteUser", user));
        let container = self.text("containerUser")?.map(|user| ("containerUser", user));
        let Some((key, user)) = remote.or(container) else { return Ok(false) };
        let is_root = matches!(user.split(':').next(), Some("root" | "0"));
        if !is_root {
            let user = one_line(user, 60);
            notices.push(format!("`{key}`: commands do not run as `{user}`, but as a user without a name"));
        }
        Ok(is_root)
    }

    /// The secrets that it recommends.
    fn wanted_secrets(&self) -> Result<Vec<String>, Invalid> {
        let names: Vec<_> = object("secrets", self.0.get("secrets"))?
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        check::count("secrets", names.len())?;
        names.iter().try_for_each(|name| check::variable_name("secrets", name))?;
        Ok(names)
    }
}

fn text<'a>(key: &str, value: Option<&'a Value>) -> Result<Option<&'a str>, Invalid> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Invalid::new(key, "it is no text")),
    }
}

fn object<'a>(key: &str, value: Option<&'a Value>) -> Result<Option<&'a Map<String, Value>>, Invalid> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Invalid::new(key, "it is no object")),
    }
}
