//! Values that must not be shown.

use std::fmt;

/// A value whose `Display` and `Debug` mask it. It is neither serialised nor
/// compared; `expose` stands where the value leaves for its one purpose.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text with every occurrence of the value masked. Values of fewer
    /// than 4 bytes are not looked for: they would mask ordinary text.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.len() < 4 { text.to_owned() } else { text.replace(&self.0, "****") }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere_but_where_it_is_exposed() {
        let key = Secret::new("sk-12345");
        assert_eq!(format!("{key} {key:?}"), "**** Secret(****)");
        assert_eq!(key.scrub("bad key sk-12345."), "bad key ****.");
    }
}
