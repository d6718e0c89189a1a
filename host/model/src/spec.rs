//! Which model of which provider.

use std::fmt;
use std::str::FromStr;

/// Longest name of a model, in bytes.
const LONGEST_NAME: usize = 256;

/// A provider that this crate has an adapter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The OpenAI Responses API.
    OpenAi,
    /// The OpenAI Chat Completions API, or a server that speaks it.
    OpenAiChat,
    /// The Anthropic Messages API.
    Anthropic,
    /// Replies from a file.
    Scripted,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::OpenAiChat, Self::Anthropic, Self::Scripted];

    /// The name, as in settings and actions.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiChat => "openai-chat",
            Self::Anthropic => "anthropic",
            Self::Scripted => "scripted",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A model as the user names it: `provider/name`, or `scripted:FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    provider: Provider,
    name: String,
}

/// A text does not name a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It has no provider, or no name.
    #[error("`{0}` does not name a model: write `provider/name` or `scripted:FILE`")]
    Form(String),
    /// There is no such provider.
    #[error("no model provider named `{0}`: there are openai, openai-chat, anthropic and scripted")]
    Provider(String),
    /// The name cannot be one.
    #[error("the model name after `{0}/` holds spaces or control characters, or is longer than 256 bytes")]
    Name(Provider),
}

impl ModelSpec {
    /// Reads `provider/name` or `scripted:FILE`. The name may hold slashes.
    ///
    /// # Errors
    /// If the text has neither form, or names a provider that does not exist.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let form = || SpecError::Form(sortie_core::text::one_line(text, 200));
        if let Some(file) = text.strip_prefix("scripted:") {
            if file.is_empty() {
                return Err(form());
            }
            return Ok(Self { provider: Provider::Scripted, name: file.to_owned() });
        }
        let (provider, name) = text.split_once('/').ok_or_else(form)?;
        if provider.is_empty() || name.is_empty() || provider == Provider::Scripted.name() {
            return Err(form());
        }
        let provider = Provider::ALL
            .into_iter()
            .find(|known| known.name() == provider)
            .ok_or_else(|| SpecError::Provider(sortie_core::text::one_line(provider, 80)))?;
        if name.len() > LONGEST_NAME || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(SpecError::Name(provider));
        }
        Ok(Self { provider, name: name.to_owned() })
    }

    /// The provider.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The model's name at the provider; for `scripted` the file.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for ModelSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.provider == Provider::Scripted { ':' } else { '/' };
        write!(f, "{}{separator}{}", self.provider, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_back_as_it_is_shown() {
        for text in ["openai/gpt-5", "openai-chat/meta/llama", "anthropic/claude-x", "scripted:a/b c.json"] {
            assert_eq!(ModelSpec::parse(text).expect("is a spec").to_string(), text);
        }
    }

    #[test]
    fn what_names_no_model_is_refused() {
        for text in ["", "gpt-5", "openai/", "/gpt-5", "scripted:", "scripted/file"] {
            assert!(matches!(ModelSpec::parse(text), Err(SpecError::Form(_))), "{text}");
        }
        assert_eq!(ModelSpec::parse("opneai/x"), Err(SpecError::Provider("opneai".into())));
        assert_eq!(ModelSpec::parse("openai/a b"), Err(SpecError::Name(Provider::OpenAi)));
        assert_eq!(ModelSpec::parse("anthropic/a\u{1b}[0m"), Err(SpecError::Name(Provider::Anthropic)));
    }
}
