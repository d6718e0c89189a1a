//! An example of a tool: counts the notes of what is left to do, by file.
//!
//! Build it with `cargo build --profile guest --target wasm32-wasip2 -p
//! example-tool-todo-count` and name it in the settings:
//!
//! ```toml
//! [[plugin]]
//! id = "todo"
//! path = "/PATH/target/wasm32-wasip2/guest/example_tool_todo_count.wasm"
//! grants = { files = { read = ["**"] } }
//! settings = { words = ["TODO", "FIXME"] }
//! ```

use std::collections::BTreeMap;

use sortie_sdk::files::Query;
use sortie_sdk::prelude::*;

/// What the operator can set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Words that mark such a note.
    #[serde(default = "usual_words")]
    words: Vec<String>,
}

fn usual_words() -> Vec<String> {
    vec!["TODO".into(), "FIXME".into()]
}

/// Counts the notes of what is left to do (TODO and the like) in each file, the files with most first.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TodoCount {
    /// Glob of the files to look at. The default is all.
    glob: Option<String>,
}

impl Tool for TodoCount {
    const NAME: &'static str = "todo_count";
    const TITLE: &'static str = "Count what is left to do";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let settings: Settings = config::get()?;
        let pattern = format!(r"\b({})\b", settings.words.join("|"));
        let query = Query { pattern, glob: self.glob, ignore_case: false, max_matches: 1000 };
        let found = files::search(&query)?;

        let mut counts = BTreeMap::<&str, usize>::new();
        for note in &found.matches {
            *counts.entry(&note.path).or_default() += 1;
        }
        let mut files: Vec<_> = counts.iter().collect();
        files.sort_by_key(|(_, count)| std::cmp::Reverse(**count));

        let mut text = format!("{} notes in {} files\n", found.matches.len(), files.len());
        for (path, count) in files {
            text.push_str(&format!("{count:>5} {path}\n"));
        }
        if found.truncated {
            log!(warn, "there are more notes than were counted");
            text.push_str("[there are more]");
        }
        Ok(Output::text(text).details(json!({ "counts": counts })))
    }
}

export_tools!(TodoCount; settings = Settings);

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> testing::Host {
        testing::Host::new()
            .file("a.rs", "// TODO one\nTODOS are none\n")
            .file("b.rs", "// FIXME\n// TODO two\n")
    }

    #[test]
    fn notes_are_counted_by_file() {
        let output = host().call::<TodoCount>(json!({})).expect("counts");
        assert_eq!(output.content, "3 notes in 2 files\n    2 b.rs\n    1 a.rs\n");
        assert_eq!(output.details, json!({"counts": {"a.rs": 1, "b.rs": 2}}));
    }

    #[test]
    fn the_operator_says_which_words_mark_a_note() {
        let host = host().settings(json!({"words": ["FIXME"]}));
        let output = host.call::<TodoCount>(json!({"glob": "*.rs"})).expect("counts");
        assert_eq!(output.content, "1 notes in 1 files\n    1 b.rs\n");
    }
}
