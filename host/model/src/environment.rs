//! What the environment says of providers.

use sortie_core::Secret;

/// Keys and base URLs, by the names that the vendors' own tools use.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `OPENAI_API_KEY`: the key for `openai` and `openai-chat`.
    pub openai_api_key: Option<Secret>,
    /// `OPENAI_BASE_URL`: where `openai` and `openai-chat` requests go
    /// instead of the vendor's own address. As for the vendor's tools, it
    /// ends in `/v1` on most servers: `http://localhost:8000/v1`.
    pub openai_base_url: Option<String>,
    /// `ANTHROPIC_API_KEY`: the key for `anthropic`.
    pub anthropic_api_key: Option<Secret>,
    /// `ANTHROPIC_BASE_URL`: where `anthropic` requests go instead of the
    /// vendor's own address; without `/v1`.
    pub anthropic_base_url: Option<String>,
    /// `SORTIE_KEY_OVER_HTTP=1`: a key may be sent without encryption to a
    /// host other than this one. Without it, a base URL that begins with
    /// `http://` takes a key on loopback addresses alone.
    pub key_over_http: bool,
}

impl Environment {
    /// The variables that are read.
    pub const VARIABLES: [&str; 5] = [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "SORTIE_KEY_OVER_HTTP",
    ];

    /// Reads the variables of this process.
    pub fn from_process() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`. Space around a value is left
    /// out; an empty value counts as none.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| {
            let value = lookup(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        Self {
            openai_api_key: value("OPENAI_API_KEY").map(Secret::new),
            openai_base_url: value("OPENAI_BASE_URL"),
            anthropic_api_key: value("ANTHROPIC_API_KEY").map(Secret::new),
            anthropic_base_url: value("ANTHROPIC_BASE_URL"),
            key_over_http: value("SORTIE_KEY_OVER_HTTP").is_some_and(|value| value == "1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_count_as_none_and_space_is_left_out() {
        let environment = Environment::from_lookup(|name| match name {
            "OPENAI_API_KEY" => Some(" sk-1 \n".into()),
            _ => Some("  ".into()),
        });
        assert_eq!(environment.openai_api_key.as_ref().map(Secret::expose), Some("sk-1"));
        assert!(environment.openai_base_url.is_none());
        assert!(environment.anthropic_api_key.is_none());
        assert!(!environment.key_over_http);
        assert!(!format!("{environment:?}").contains("sk-1"));
    }

    #[test]
    fn every_variable_that_is_read_is_listed() {
        let asked = std::cell::RefCell::new(Vec::new());
        Environment::from_lookup(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        assert_eq!(asked.into_inner(), Environment::VARIABLES);
    }
}
