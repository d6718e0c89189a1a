//! The variables of the specification, `${…}`, as far as a workspace has them.
//! What it has not is left as it stands where a shell reads it (`${HOME}`), and
//! refused where the specification gives it a meaning of its own.

use std::collections::BTreeMap;

use sortie_core::text::one_line;

use super::WORK_TREE;

/// What the variables stand for.
pub(super) struct Substitution<'a> {
    of_container: &'a BTreeMap<String, String>,
}

impl<'a> Substitution<'a> {
    /// With the variables of the container that the same file sets.
    pub(super) fn new(of_container: &'a BTreeMap<String, String>) -> Self {
        Self { of_container }
    }

    /// The text with what each variable stands for; nothing in that is
    /// substituted again.
    ///
    /// # Errors
    /// Why one of them has no value here.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        let mut substituted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            substituted.push_str(before);
            match after.split_once('}') {
                Some((variable, after)) => {
                    match self.value(variable)? {
                        Some(value) => substituted.push_str(&value),
                        None => substituted.push_str(&format!("${{{variable}}}")),
                    }
                    rest = after;
                }
                None => {
                    substituted.push_str("${");
                    rest = after;
                }
            }
        }
        substituted.push_str(rest);
        Ok(substituted)
    }

    /// None for what is not the specification's.
    fn value(&self, variable: &str) -> Result<Option<String>, String> {
        let mut parts = variable.splitn(3, ':');
        let kind = parts.next().unwrap_or_default();
        let (name, default) = (parts.next(), parts.next());
        let shown = || one_line(variable, 80);
        match kind {
            "containerWorkspaceFolder" => Ok(Some(WORK_TREE.to_owned())),
            "containerWorkspaceFolderBasename" => Ok(Some(WORK_TREE.trim_start_matches('/').to_owned())),
            "localWorkspaceFolder" | "localWorkspaceFolderBasename" | "devcontainerId" => {
                Err(format!("`${{{}}}` has no meaning in a workspace", shown()))
            }
            "localEnv" | "env" if name.is_some() => default
                .map(|default| Some(default.to_owned()))
                .ok_or_else(|| format!("`${{{}}}`: the host's variables are not read", shown())),
            "containerEnv" if name.is_some() => {
                let set = name.and_then(|name| self.of_container.get(name)).map(String::as_str);
                let value = set.filter(|value| !value.contains("${")).or(default);
                value
                    .map(|value| Some(value.to_owned()))
                    .ok_or_else(|| format!("`${{{}}}`: the image's variables are not known", shown()))
            }
            _ => Ok(None),
        }
    }
}
