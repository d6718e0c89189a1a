//! Path rules of the policies' settings, compiled into the workspace: what a
//! rule denies reading is masked, what it denies writing is read-only. There
//! the kernel decides, for commands too.

use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;
use sortie_core::text::one_line;

/// Paths of one work tree that are looked at; of those beyond, nobody would
/// know whether a rule is about them.
const PATHS_MAX: usize = 1_000_000;
/// Mounts that are made of one kind of rule.
const MOUNTS_MAX: usize = 256;

/// The globs of rules that deny reading and writing.
#[derive(Default)]
pub(crate) struct PathRules {
    read: Vec<Globs>,
    write: Vec<Globs>,
}

/// One rule's patterns: what it matches, and its exceptions.
struct Globs {
    matched: GlobSet,
    excepted: GlobSet,
}

/// What a sandbox is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) masks: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
}

impl PathRules {
    /// Takes the rules that deny reading or writing by plain path globs, and
    /// do not say `workspace = false`.
    pub(crate) fn new<'a>(rules: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut these = Self::default();
        for rule in rules {
            let off = rule["workspace"] == Value::Bool(false);
            let conditions = rule["match"].as_object();
            let only_paths =
                conditions.is_some_and(|c| c.keys().all(|key| key == "path" || key == "operation"));
            // what may be read but not listed, say, is not for the kernel
            let operation = &rule["match"]["operation"];
            let any_operation = operation.is_null() || texts(operation).any(|name| name == "read");
            if off || rule["decision"] != "deny" || !only_paths || !any_operation {
                continue;
            }
            let Some(globs) = globs(&rule["match"]["path"]) else { continue };
            if texts(&rule["action"]).any(|action| action == "file-read") {
                these.read.push(globs);
            } else if texts(&rule["action"]).any(|action| action == "file-write") {
                these.write.push(globs);
            }
        }
        these
    }

    /// Whether a path, or a folder that it lies in, must not be read. A
    /// repository's own folder is not looked at, as in workspaces.
    pub(crate) fn denies_reading(&self, path: &Path) -> bool {
        if self.read.is_empty() || path.starts_with(".git") {
            return false;
        }
        let denied = |path: &Path| self.read.iter().any(|globs| globs.matches(path));
        path.ancestors().any(|path| !path.as_os_str().is_empty() && denied(path))
    }

    /// The paths of a fresh checkout that the rules are about. Nothing runs in
    /// it yet, so that walking it by path is safe; links are not followed.
    pub(crate) fn in_tree(&self, root: &Path) -> io::Result<Paths> {
        let mut paths = Paths::default();
        if self.read.is_empty() && self.write.is_empty() {
            return Ok(paths);
        }
        let mut folders = vec![PathBuf::new()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let unreadable = |error: io::Error| {
                let text = format!(
                    "cannot look for what path rules match in `{}`: {error}\nhint: what set-up makes must be readable",
                    one_line(&folder.to_string_lossy(), 200)
                );
                io::Error::new(error.kind(), text)
            };
            for entry in std::fs::read_dir(root.join(&folder)).map_err(unreadable)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let path = folder.join(entry.file_name());
                seen += 1;
                if seen > PATHS_MAX {
                    return Err(io::Error::other(format!(
                        "the repository has more than {PATHS_MAX} paths, too many to enforce path rules on"
                    )));
                }
                if path == Path::new(".git") || kind.is_symlink() {
                    continue;
                }
                let hit = |rules: &[Globs]| rules.iter().any(|globs| globs.matches(&path));
                if hit(&self.read) {
                    paths.masks.push(path);
                } else if hit(&self.write) {
                    paths.read_only.push(path);
                } else if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
        for list in [&mut paths.masks, &mut paths.read_only] {
            list.sort();
            if list.len() > MOUNTS_MAX {
                let message = format!(
                    "path rules match {} paths of the repository; at most {MOUNTS_MAX} can be enforced",
                    list.len()
                );
                return Err(io::Error::other(message));
            }
        }
        Ok(paths)
    }
}

impl Globs {
    fn matches(&self, path: &Path) -> bool {
        self.matched.is_match(path) && !self.excepted.is_match(path)
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let many = value.as_array().map(Vec::as_slice).unwrap_or_default();
    many.iter().chain(value.is_string().then_some(value)).filter_map(Value::as_str)
}

/// None if a pattern is no plain glob: such a rule holds at the gate alone.
fn globs(patterns: &Value) -> Option<Globs> {
    let (mut matched, mut excepted) = (GlobSetBuilder::new(), GlobSetBuilder::new());
    for pattern in texts(patterns) {
        let (set, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (&mut excepted, rest),
            None => (&mut matched, pattern),
        };
        if pattern.starts_with("regex:") {
            return None;
        }
        set.add(GlobBuilder::new(pattern).literal_separator(true).case_insensitive(true).build().ok()?);
    }
    Some(Globs { matched: matched.build().ok()?, excepted: excepted.build().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_paths_than_can_be_mounted_over_are_an_error_and_not_the_first_of_them() {
        let root = tempfile::tempdir().expect("a folder");
        for number in 0..=MOUNTS_MAX {
            std::fs::write(root.path().join(format!("{number}.pem")), "").expect("written");
        }
        for action in ["file-read", "file-write"] {
            let rules = [json!({ "action": action, "decision": "deny", "match": { "path": "**/*.pem" } })];
            let error = PathRules::new(&rules).in_tree(root.path()).expect_err("too many").to_string();
            assert!(error.contains(&format!("match {} paths", MOUNTS_MAX + 1)), "{error}");
        }
    }

    #[test]
    fn denied_reads_are_masked_and_denied_writes_read_only() {
        let root = tempfile::tempdir().expect("a folder");
        for path in [".env", ".env.example", "a/.ENV.local", "keys/x.pem", "src/main.rs"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        std::os::unix::fs::symlink("/etc", root.path().join("link.pem")).expect("linked");
        let rules = [
            json!({ "action": "file-read", "decision": "deny", "match": { "path": ["**/.env*", "!**/.env.example"] } }),
            json!({ "action": ["file-write", "push"], "decision": "deny", "match": { "path": "**/*.pem" } }),
            json!({ "action": "file-write", "decision": "deny", "workspace": false, "match": { "path": "src/**" } }),
            json!({ "action": "file-write", "decision": "ask", "match": { "path": "src/**" } }),
            json!({ "action": "file-read", "decision": "deny", "match": { "path": "src/**", "operation": "search" } }),
        ];
        let paths = PathRules::new(&rules).in_tree(root.path()).expect("walked");
        let list = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let rules = PathRules::new(&rules);
        for (path, denied) in
            [(".env", true), ("a/.env/deep", true), ("src/main.rs", false), (".git/.env", false)]
        {
            assert_eq!(rules.denies_reading(Path::new(path)), denied, "{path}");
        }
        assert_eq!(paths, Paths { masks: list(&[".env", "a/.ENV.local"]), read_only: list(&["keys/x.pem"]) });
    }
}
