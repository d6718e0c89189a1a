//! Paths as rules see them.

/// A path in the one form in which rules see it: no empty parts, no `.`,
/// `..` taken back, and none of the characters that some file systems ignore
/// (`.g\u{200c}it` and `.git.` are `.git` there). Never used to open a file.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(visible(part)),
        }
    }
    parts.join("/")
}

fn visible(part: &str) -> String {
    let seen: String = part.chars().filter(|c| !is_ignored(*c)).collect();
    let trimmed = seen.trim_end_matches(['.', ' ']);
    if trimmed.is_empty() { seen } else { trimmed.to_owned() }
}

/// Characters that HFS+ ignores in names.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn one_file_has_one_form() {
        for same in ["a/b", "./a/b", "a//b", "a/./b", "/a/b", "a/x/../b", "../a/b", "a\\b", "a/b/", "a./b "] {
            assert_eq!(normal(same), "a/b", "{same:?}");
        }
        assert_eq!(normal(".g\u{200c}it/config"), ".git/config");
        assert_eq!(normal("..."), "...");
        assert_eq!(normal(""), "");
    }
}
