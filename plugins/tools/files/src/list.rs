//! `list_files` and `search`.

use sortie_sdk::files::Query;
use sortie_sdk::prelude::*;

/// Paths listed unless more or fewer are asked for.
const PATHS: u32 = 500;

/// Matches returned unless more or fewer are asked for.
const MATCHES: u32 = 100;

/// Lists files of the work tree, one path a line. Ignored files are left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListFiles {
    /// A glob such as `src/**/*.rs`, or a directory. The default is all files.
    pattern: Option<String>,
    /// The most paths listed, at most 10000. The default is 500.
    max: Option<u32>,
}

impl Tool for ListFiles {
    const NAME: &'static str = "list_files";
    const TITLE: &'static str = "List files";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let max = within("max", self.max.unwrap_or(PATHS), 10_000)?;
        let pattern = glob(self.pattern.as_deref());
        let listing = files::glob(&pattern, max)?;
        let mut text: String = listing.paths.iter().map(|path| format!("{path}\n")).collect();
        if listing.paths.is_empty() {
            text = format!("[nothing matches `{pattern}`]");
        } else if listing.truncated {
            text.push_str(&format!("[there are more than {max}; narrow the pattern]"));
        }
        let details = json!({"count": listing.paths.len(), "truncated": listing.truncated});
        Ok(Output::text(text).details(details))
    }
}

/// What is meant by a pattern: a directory stands for all that lies in it.
fn glob(pattern: Option<&str>) -> String {
    let pattern = pattern.unwrap_or_default().trim_start_matches("./");
    match pattern.trim_end_matches('/') {
        "" | "." => "**".into(),
        plain if !plain.contains(['*', '?', '[', '{']) => format!("{{{plain},{plain}/**}}"),
        _ => pattern.into(),
    }
}

/// Searches the contents of files for a regular expression, line by line. Ignored and binary files, and those of
/// more than 8 MiB, are left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    /// The regular expression, in the syntax of Rust's `regex` crate.
    pattern: String,
    /// A glob that paths must match, such as `**/*.py`. The default is all files.
    glob: Option<String>,
    /// Whether case is ignored. The default is no.
    ignore_case: Option<bool>,
    /// The most matches returned, at most 1000. The default is 100.
    max_matches: Option<u32>,
}

impl Tool for Search {
    const NAME: &'static str = "search";
    const TITLE: &'static str = "Search";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let max_matches = within("max_matches", self.max_matches.unwrap_or(MATCHES), 1000)?;
        if self.pattern.is_empty() {
            return Err(Error::invalid("`pattern` is empty"));
        }
        let query = Query {
            pattern: self.pattern,
            glob: self.glob.as_deref().map(|pattern| glob(Some(pattern))),
            ignore_case: self.ignore_case.unwrap_or(false),
            max_matches,
        };
        let found = files::search(&query)?;
        let lines = found.matches.iter();
        let mut text: String =
            lines.map(|found| format!("{}:{}: {}\n", found.path, found.line, found.text)).collect();
        if found.matches.is_empty() {
            text = "[no matches]".into();
        } else if found.truncated {
            text.push_str(&format!("[there are more than {max_matches}; narrow the search]"));
        }
        if found.too_large > 0 {
            let gap = if text.ends_with('\n') { "" } else { "\n" };
            let files = found.too_large;
            text.push_str(&format!("{gap}[not searched, because of more than 8 MiB: {files} files]"));
        }
        let details = json!({
            "count": found.matches.len(), "truncated": found.truncated, "too_large": found.too_large,
        });
        Ok(Output::text(text).details(details))
    }
}

fn within(name: &str, value: u32, most: u32) -> Result<u32> {
    match value {
        0 => Err(Error::invalid(format!("`{name}` is 0"))),
        value if value > most => Err(Error::invalid(format!("`{name}` is more than {most}"))),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::testing::Host;

    fn host() -> Host {
        Host::new()
            .file("src/a.rs", "fn One() {}\nfn two() {}\n")
            .file("src/x/b.rs", "")
            .file("README", "one")
    }

    #[test]
    fn a_pattern_a_directory_and_nothing_list_what_they_say() {
        let list = |arguments| host().call::<ListFiles>(arguments).expect("lists").content;
        assert_eq!(list(json!({})), "README\nsrc/a.rs\nsrc/x/b.rs\n");
        assert_eq!(list(json!({"pattern": "./src/"})), "src/a.rs\nsrc/x/b.rs\n");
        assert_eq!(list(json!({"pattern": "README"})), "README\n");
        assert_eq!(
            list(json!({"pattern": "**/*.rs", "max": 1})),
            "src/a.rs\n[there are more than 1; narrow the pattern]"
        );
        assert_eq!(list(json!({"pattern": "*.py"})), "[nothing matches `*.py`]");
    }

    #[test]
    fn matches_come_with_path_and_line() {
        let search = |arguments| host().call::<Search>(arguments).expect("searches").content;
        assert_eq!(search(json!({"pattern": "two"})), "src/a.rs:2: fn two() {}\n");
        assert_eq!(
            search(json!({"pattern": "ONE", "ignore_case": true, "glob": "src"})),
            "src/a.rs:1: fn One() {}\n"
        );
        assert_eq!(
            search(json!({"pattern": "fn", "max_matches": 1})),
            "src/a.rs:1: fn One() {}\n[there are more than 1; narrow the search]"
        );
        assert_eq!(search(json!({"pattern": "nothing"})), "[no matches]");
    }

    #[test]
    fn files_that_are_too_large_to_be_searched_are_counted() {
        let large = vec![b'x'; files::MAX_BYTES as usize + 1];
        let host = Host::new().file("a.log", &large).file("b.txt", "two\n").file("c.log", &large);
        let search = |pattern: &str| host.call::<Search>(json!({ "pattern": pattern })).expect("searches");
        let not_searched = "[not searched, because of more than 8 MiB: 2 files]";
        assert_eq!(search("two").content, format!("b.txt:1: two\n{not_searched}"));
        assert_eq!(search("x").content, format!("[no matches]\n{not_searched}"));
        assert_eq!(search("x").details["too_large"], 2);
    }

    #[test]
    fn bounds_and_malformed_patterns_are_errors() {
        for arguments in [json!({"max": 0}), json!({"max": 10_001}), json!({"pattern": "a[", "max": 1})] {
            assert!(host().call::<ListFiles>(arguments.clone()).is_err(), "{arguments}");
        }
        for arguments in
            [json!({"pattern": ""}), json!({"pattern": "("}), json!({"pattern": "a", "max_matches": 1001})]
        {
            assert!(host().call::<Search>(arguments.clone()).is_err(), "{arguments}");
        }
    }
}
