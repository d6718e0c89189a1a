//! Sections and keys of TOML and INI files.
//!
//! Detection asks only whether a section is there and whether it has a key,
//! so it reads lines: a manifest with an error in it still has its tests.

/// Whether a file has the section `[name]`, or one inside of it.
pub(super) fn has_section(text: &str, name: &str) -> bool {
    headings(text).any(|heading| is_within(heading, name))
}

/// Whether the section `[section]` itself has the key.
pub(super) fn has_key(text: &str, section: &str, key: &str) -> bool {
    let mut inside = false;
    text.lines().any(|line| {
        if let Some(heading) = heading(line) {
            inside = heading == section;
        }
        let name = line.split_once('=').map(|(name, _)| name.trim().trim_matches('"'));
        inside && name == Some(key)
    })
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(heading)
}

fn heading(line: &str) -> Option<&str> {
    let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.trim_matches(['[', ']', ' ']))
}

fn is_within(heading: &str, name: &str) -> bool {
    heading.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_keys_are_found_and_look_alikes_are_not() {
        let toml =
            "[tool.pytest.ini_options] # here\naddopts = \"-q\"\n[[bin]]\n\"name\" = \"x\"\n[pytester]\n";
        assert!(has_section(toml, "tool.pytest") && has_section(toml, "bin"));
        assert!(!has_section(toml, "pytest") && !has_section(toml, "tool.py"));
        assert!(has_key(toml, "tool.pytest.ini_options", "addopts") && has_key(toml, "bin", "name"));
        assert!(!has_key(toml, "bin", "addopts"));
    }
}
