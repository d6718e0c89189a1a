//! Listings and searches.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use sortie_core::action::{FileRead, ReadOperation};
use sortie_policy::ports::{ErrorCode, Files, LineMatch, SearchQuery, Survey};

use crate::file_changes::Tree;

fn query(pattern: &str) -> SearchQuery {
    SearchQuery { pattern: pattern.into(), glob: None, ignore_case: false, max_matches: 1000 }
}

impl Tree {
    async fn glob(&self, pattern: &str) -> Vec<String> {
        self.files.survey_glob(pattern, 10_000).await.expect("a glob").paths
    }

    async fn search(&self, query: &SearchQuery) -> (Survey, Vec<LineMatch>) {
        let survey = self.files.survey_search(query).await.expect("an expression");
        let operation = ReadOperation::Search {
            pattern: query.pattern.clone(),
            ignore_case: query.ignore_case,
            max_matches: query.max_matches,
        };
        let permit = self.world.permit(FileRead { operation, paths: survey.paths.clone() }).await;
        let matches = self.files.search(permit).await.expect("it is permitted");
        (survey, matches)
    }
}

fn found(path: &str, line: u32, text: &str) -> LineMatch {
    LineMatch { path: path.into(), line, text: text.into() }
}

#[tokio::test]
async fn a_glob_lists_paths_in_order_and_marks_folders() {
    let tree = Tree::new();
    for path in ["src/lib.rs", "src/a/b.rs", "src-gen/x.rs", "README", ".github/workflows/ci.yml"] {
        tree.put(path, "");
    }
    assert_eq!(tree.glob("*").await, [".github/", "README", "src-gen/", "src/"]);
    assert_eq!(tree.glob("**/*.rs").await, ["src-gen/x.rs", "src/a/b.rs", "src/lib.rs"]);
    assert_eq!(tree.glob("src/**").await, ["src/a/", "src/a/b.rs", "src/lib.rs"]);
    assert_eq!(tree.glob("src/*").await, ["src/a/", "src/lib.rs"]);
    assert_eq!(tree.glob(".github/workflows/*.{yml,yaml}").await, [".github/workflows/ci.yml"]);
    assert_eq!(tree.glob("src/lib.rs").await, ["src/lib.rs"]);
    assert!(tree.glob("../*").await.is_empty());
    assert!(tree.glob("/etc/*").await.is_empty());
    let two = tree.files.survey_glob("**", 2).await.expect("a glob");
    assert_eq!((two.paths.len(), two.truncated), (2, true));
    for bad in ["", "[", "{a", &"*".repeat(5000)] {
        assert_eq!(tree.files.survey_glob(bad, 10).await.expect_err("no glob").code, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn ignored_files_and_repositories_own_folders_are_left_out() {
    let tree = Tree::new();
    tree.put(".gitignore", "/target/\n*.log\n!keep.log\n# comment\n[broken\n/only-here\n");
    tree.put("sub/.gitignore", "local.txt\n!other.log\n");
    tree.put(".ignore", "vendored/\n");
    for path in [
        ".git/config",
        "sub/.git",
        "target/out",
        "a.log",
        "keep.log",
        "only-here",
        "vendored/x",
        "sub/target/kept",
        "sub/only-here",
        "sub/local.txt",
        "sub/other.log",
        "sub/x.log",
        "sub/kept.txt",
    ] {
        tree.put(path, "needle\n");
    }
    let kept = ["keep.log", "sub/kept.txt", "sub/only-here", "sub/other.log", "sub/target/kept"];
    assert_eq!(tree.search(&query("needle")).await.0.paths, kept);
    let listed = tree.glob("**/*").await;
    for path in kept {
        assert!(listed.iter().any(|listed| listed == path), "{path} is missing from {listed:?}");
    }
    for path in ["target/", "a.log", ".git/", "sub/.git", "vendored/", "sub/local.txt"] {
        assert!(!listed.iter().any(|listed| listed == path), "{path} is in {listed:?}");
    }
}

#[tokio::test]
async fn a_search_finds_lines_with_their_numbers() {
    let tree = Tree::new();
    tree.put("a.txt", "one\r\nTwo\r\nthree two\n");
    tree.put("b/c.txt", "two");
    tree.put("binary", b"two\0two");
    tree.put("late", [b"two\n".repeat(1000).as_slice(), b"\0"].concat());
    tree.put("empty", "");
    tree.put("latin", b"two caf\xe9\n");
    let (survey, matches) = tree.search(&query("two")).await;
    assert_eq!(survey.paths, ["a.txt", "b/c.txt", "latin"]);
    assert!(!survey.truncated);
    let expected =
        [found("a.txt", 3, "three two"), found("b/c.txt", 1, "two"), found("latin", 1, "two caf\u{fffd}")];
    assert_eq!(matches, expected);
    let insensitive = SearchQuery { ignore_case: true, glob: Some("*.txt".into()), ..query("^two$") };
    assert_eq!(tree.search(&insensitive).await.1, [found("a.txt", 2, "Two")]);
    assert!(tree.search(&query("^$")).await.1.is_empty(), "no line is empty");
}

#[tokio::test]
async fn a_search_is_bounded_in_matches_lines_and_expressions() {
    let tree = Tree::new();
    tree.put("a", "x\n".repeat(3));
    tree.put("b", "x\n".repeat(3));
    tree.put("c", "x\n".repeat(3));
    tree.put("long", format!("{}needle{}", "é".repeat(1000), "é".repeat(1000)));
    let four = SearchQuery { max_matches: 4, ..query("x") };
    let (survey, matches) = tree.search(&four).await;
    assert_eq!((survey.paths, survey.truncated), (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(matches.len(), 4);
    let all = SearchQuery { max_matches: 9, ..query("x") };
    assert!(!tree.search(&all).await.0.truncated);
    assert_eq!(tree.search(&query("needle")).await.1[0].text.chars().count(), 500);
    let nested = "(".repeat(200) + &")".repeat(200);
    for bad in ["", "(", "(a{250}){250}", &nested, &"a".repeat(5000)] {
        let error = tree.files.survey_search(&query(bad)).await.expect_err("no expression");
        assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    }
}

#[tokio::test]
async fn paths_that_a_policy_put_there_are_searched_like_any_other_and_no_further() {
    let tree = Tree::new();
    tree.put("a", "needle");
    let outside = tempfile::TempDir::new().expect("a folder");
    fs::write(outside.path().join("f"), "needle").expect("a file");
    symlink(outside.path(), tree.dir.path().join("link")).expect("a link");
    let above = format!("../{}/f", outside.path().file_name().expect("it has one").display());
    assert!(tree.dir.path().join(&above).exists(), "control: there is something to find");
    let paths = ["/etc/hostname", &above, "link/f", "missing", "a"].map(String::from).to_vec();
    let operation = ReadOperation::Search { pattern: ".".into(), ignore_case: false, max_matches: 10 };
    let permit = tree.world.permit(FileRead { operation, paths }).await;
    assert_eq!(tree.files.search(permit).await.expect("it is permitted"), [found("a", 1, "needle")]);
}

#[tokio::test]
async fn loops_and_names_that_are_no_text_end_well() {
    let tree = Tree::new();
    let path = |name: &str| tree.dir.path().join(name);
    symlink(".", path("self")).expect("a link");
    symlink("b", path("a")).expect("a link");
    symlink("a", path("b")).expect("a link");
    fs::write(tree.dir.path().join(OsStr::from_bytes(b"caf\xe9")), "needle").expect("a file");
    assert_eq!(tree.glob("**").await, ["a", "b", "caf\u{fffd}", "self"]);
    assert!(tree.search(&query("needle")).await.0.paths.is_empty());
    assert_eq!(tree.read("caf\u{fffd}").await.expect_err("not its name").code, ErrorCode::NotFound);
}

#[tokio::test]
async fn depth_is_bounded() {
    let tree = Tree::new();
    let deep = vec!["d"; 300].join("/");
    tree.put(&format!("{deep}/f"), "needle");
    tree.put("z", "needle");
    let survey = tree.files.survey_search(&query("needle")).await.expect("it ends");
    assert_eq!((survey.paths, survey.truncated), (vec!["z".to_owned()], true));
    assert_eq!(tree.read(&format!("{deep}/f")).await.expect_err("too deep").code, ErrorCode::Invalid);
}
