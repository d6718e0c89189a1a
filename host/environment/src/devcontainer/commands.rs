//! The life-cycle commands: a line for a shell, an argument vector, or several
//! of either by name.

use serde_json::Value;
use sortie_core::action::command_line;
use sortie_core::text::one_line;

use super::substitute::Substitution;
use super::{Keys, text};
use crate::check::{self, Invalid};

impl Keys {
    /// The commands of these keys, in order. Those of one key by name run one
    /// after the other, in order of name: the specification runs them at once.
    pub(super) fn commands(
        &self,
        keys: &[&str],
        substitution: &Substitution<'_>,
        notices: &mut Vec<String>,
    ) -> Result<Vec<String>, Invalid> {
        let mut lines = Vec::new();
        for key in keys {
            match self.0.get(*key) {
                Some(Value::Object(commands)) => {
                    for (name, value) in commands {
                        let key = format!("{key}.{}", one_line(name, 60));
                        lines.extend(command(&key, value, substitution, notices)?);
                    }
                }
                Some(value) => lines.extend(command(key, value, substitution, notices)?),
                None => {}
            }
        }
        check::commands(keys.last().copied().unwrap_or_default(), &lines)?;
        Ok(lines)
    }
}

/// None for an empty one, and for one that cannot run here, which is named.
fn command(
    key: &str,
    value: &Value,
    substitution: &Substitution<'_>,
    notices: &mut Vec<String>,
) -> Result<Option<String>, Invalid> {
    let line = match value {
        Value::Array(arguments) => {
            let arguments: Vec<_> =
                arguments.iter().map(|argument| text(key, Some(argument))).collect::<Result<_, _>>()?;
            let arguments: Result<Vec<String>, String> =
                arguments.into_iter().flatten().map(|argument| substitution.apply(argument)).collect();
            arguments.map(|arguments| command_line(&arguments))
        }
        line => substitution.apply(text(key, Some(line))?.unwrap_or_default()),
    };
    match line {
        Ok(line) => Ok(Some(line).filter(|line| !line.trim().is_empty())),
        Err(reason) => {
            notices.push(format!("`{key}` is not run: {reason}"));
            Ok(None)
        }
    }
}
