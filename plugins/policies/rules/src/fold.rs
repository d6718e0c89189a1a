//! Patterns in the form in which they are matched. The build script, which
//! has no other part of this crate, uses it too.

/// A pattern of a rule that ignores case. Regular expressions have a flag for it.
pub(crate) fn fold(pattern: &str) -> String {
    let body = pattern.strip_prefix('!').unwrap_or(pattern);
    if body.starts_with("regex:") { pattern.to_owned() } else { pattern.to_lowercase() }
}
