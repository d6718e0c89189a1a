//! The file of a scripted model.

use std::io::Read;
use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sortie_core::conversation::StopReason;
use sortie_core::outcome::Usage;
use sortie_core::text::clip;

/// Longest script, in bytes.
const LONGEST_SCRIPT: u64 = 64 << 20;

/// Why a file is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is not a file, or longer than 64 MiB.
    #[error("it is not a file of at most 64 MiB")]
    File,
    /// It is neither JSON with `replies` nor JSON Lines of replies.
    #[error("it is not a script: {0}")]
    Form(serde_json::Error),
    /// A line of JSON Lines is not a reply.
    #[error("line {line} is not a reply: {source}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A whole script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// The replies, in order.
    pub(super) replies: Vec<Line>,
    /// For whoever reads the file.
    #[serde(default, rename = "description")]
    _description: Option<String>,
}

/// One reply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Vec<ScriptedCall>,
    #[serde(default)]
    pub(super) delay_ms: u64,
    #[serde(default = "ended")]
    pub(super) stop: StopReason,
    #[serde(default, deserialize_with = "usage")]
    pub(super) usage: Option<Usage>,
    /// What the model must have been told before.
    #[serde(default, deserialize_with = "one_or_more")]
    expect: Vec<String>,
    #[serde(default, deserialize_with = "regexes")]
    expect_regex: Vec<Regex>,
    #[serde(default, deserialize_with = "one_or_more")]
    expect_not: Vec<String>,
}

/// One tool call of a reply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptedCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    #[serde(default)]
    arguments: Value,
}

impl ScriptedCall {
    /// An object as JSON, a text as it is: scripts can be malformed on purpose.
    pub(super) fn arguments_text(&self) -> String {
        match &self.arguments {
            Value::Null => "{}".into(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }
}

impl Line {
    /// What of the expectations is not met, for people.
    pub(super) fn check(&self, told: &str) -> Result<(), String> {
        let shown = |text: &str| clip(text, super::LONGEST_SHOWN).into_owned();
        if let Some(missing) = self.expect.iter().find(|text| !told.contains(text.as_str())) {
            return Err(format!("expected `{}`", shown(missing)));
        }
        if let Some(unmatched) = self.expect_regex.iter().find(|regex| !regex.is_match(told)) {
            return Err(format!("expected a match of /{}/", shown(unmatched.as_str())));
        }
        if let Some(unwanted) = self.expect_not.iter().find(|text| told.contains(text.as_str())) {
            return Err(format!("did not expect `{}`", shown(unwanted)));
        }
        Ok(())
    }
}

impl Script {
    pub(super) fn read(path: &Path) -> Result<Self, ScriptError> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() || metadata.len() > LONGEST_SCRIPT {
            return Err(ScriptError::File);
        }
        let mut text = String::new();
        std::fs::File::open(path)?.take(LONGEST_SCRIPT).read_to_string(&mut text)?;
        Self::parse(text.trim_start_matches('\u{feff}'))
    }

    fn parse(text: &str) -> Result<Self, ScriptError> {
        // several values follow one another in JSON Lines, and a sole line lacks `replies`
        match serde_json::from_str::<Value>(text) {
            Ok(value) if value.get("replies").is_some() => {
                serde_json::from_value(value).map_err(ScriptError::Form)
            }
            Err(error) if !is_lines(text) => Err(ScriptError::Form(error)),
            _ => Self::parse_lines(text),
        }
    }

    fn parse_lines(text: &str) -> Result<Self, ScriptError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let replies = lines.map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| ScriptError::Line { line: index + 1, source })
        });
        Ok(Self { replies: replies.collect::<Result<_, _>>()?, _description: None })
    }
}

/// Whether the first line that is not blank is JSON by itself.
fn is_lines(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.is_some_and(|line| serde_json::from_str::<Value>(line).is_ok())
}

fn ended() -> StopReason {
    StopReason::Ended
}

fn usage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usage>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tokens {
        input_tokens: u64,
        output_tokens: u64,
    }
    let tokens = Option::<Tokens>::deserialize(deserializer)?;
    Ok(tokens.map(|Tokens { input_tokens, output_tokens }| Usage {
        input_tokens,
        output_tokens,
        ..Usage::default()
    }))
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    })
}

fn regexes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    let texts = one_or_more(deserializer)?;
    texts.iter().map(|text| Regex::new(text).map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_script_are_read() {
        let one = Script::parse("{\n \"description\": \"x\",\n \"replies\": [{\"text\": \"a\"}, {}]\n}")
            .expect("is one");
        let lines = Script::parse("{\"text\":\"a\"}\n\n{}\n").expect("is one");
        let single = Script::parse("{\"text\":\"a\"}").expect("is one");
        assert_eq!([one.replies.len(), lines.replies.len(), single.replies.len()], [2, 2, 1]);
    }

    #[test]
    fn a_misspelt_member_is_refused_by_name() {
        for text in
            ["{\"replies\":[{\"txet\":\"a\"}]}", "{}\n{\"txet\":\"a\"}", "{\"replies\":[],\"txet\":1}"]
        {
            let error = Script::parse(text).expect_err("is refused").to_string();
            assert!(error.contains("txet"), "{error}");
        }
        let error = Script::parse("{}\n{\"tool_calls\":1}").expect_err("is refused").to_string();
        assert!(error.starts_with("line 2 is not a reply"), "{error}");
        assert!(matches!(Script::parse("{\n\"replies\": ["), Err(ScriptError::Form(_))));
        assert!(Script::parse("{\"replies\":[{\"expect_regex\":\"(\"}]}").is_err());
    }
}
