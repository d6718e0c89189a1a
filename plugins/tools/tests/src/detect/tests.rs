//! Detection over pretended work trees.

use sortie_sdk::testing::Host;

use super::*;

/// What is found in a work tree of these files.
fn found(files: &[(&str, &str)]) -> Option<(String, Format)> {
    let host = files.iter().fold(Host::new(), |host, (path, text)| host.file(path, text));
    let plan = host.enter(detect).expect("the host answers");
    plan.map(|plan| (plan.command.join(" "), plan.format))
}

fn some(command: &str, format: Format) -> Option<(String, Format)> {
    Some((command.to_owned(), format))
}

const CASES: &str = "import unittest\n\nclass A(unittest.TestCase):\n    def test_a(self):\n        pass\n";
const PLAIN: &str = "from x import y\n\ndef test_a():\n    assert y\n";
/// The script in front of every command of a package.
const PATH: &str = "sh -c PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; ";

#[test]
fn each_ecosystem_is_known_by_its_files() {
    let package = |script: &str| format!("{{\"scripts\":{{\"test\":\"{script}\"}}}}");
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<(String, Format)>);
    let cases: &[Case<'_>] = &[
        (&[], None),
        (&[("README.md", "hello")], None),
        (
            &[("Cargo.toml", "[package]\nname = \"x\"")],
            some("cargo test --no-fail-fast --offline", Format::Cargo),
        ),
        (
            &[("Cargo.toml", "[workspace]\nmembers = []")],
            some("cargo test --no-fail-fast --offline --workspace", Format::Cargo),
        ),
        (
            &[("Cargo.toml", "[workspace]\ndefault-members = []")],
            some("cargo test --no-fail-fast --offline", Format::Cargo),
        ),
        (&[("go.mod", "module x\n"), ("a/a_test.go", "")], some("go test ./...", Format::Go)),
        (&[("go.mod", "module x\n"), ("a.go", "")], None),
        (&[("test_a.py", PLAIN)], some("python3 -m pytest", Format::Pytest)),
        (
            &[("pyproject.toml", "[tool.pytest.ini_options]"), ("t/test_a.py", CASES)],
            some("python3 -m pytest", Format::Pytest),
        ),
        (
            &[("setup.py", "tests_require=['pytest']"), ("t/test_a.py", CASES)],
            some("python3 -m pytest", Format::Pytest),
        ),
        (&[("tests/test_a.py", "x = 1\n")], None),
        (&[("conftest.py", "import pytest")], None),
        (&[("test_a.py", CASES)], some("python3 -m unittest discover -v", Format::Unittest)),
        (&[("tests/test_a.py", CASES)], some("python3 -m unittest discover -v -s tests", Format::Unittest)),
        (
            &[("tests/__init__.py", ""), ("tests/test_a.py", CASES)],
            some("python3 -m unittest discover -v -s tests -t .", Format::Unittest),
        ),
        (
            &[("p/__init__.py", ""), ("p/tests/__init__.py", ""), ("p/tests/test_a.py", CASES)],
            some("python3 -m unittest discover -v -s p/tests -t .", Format::Unittest),
        ),
        (
            &[("src/p/__init__.py", ""), ("tests/test_a.py", CASES)],
            some("env PYTHONPATH=src python3 -m unittest discover -v -s tests", Format::Unittest),
        ),
        (
            &[("src/p/__init__.py", ""), ("src/p/x.pyx", ""), ("tests/test_a.py", PLAIN)],
            some("python3 -m pytest", Format::Pytest),
        ),
        (
            &[("tests/a_test.py", CASES)],
            some("python3 -m unittest discover -v -s tests -p *_test.py", Format::Unittest),
        ),
        (
            &[("test_a.py", PLAIN), (".venv/pyvenv.cfg", "")],
            some(".venv/bin/python -m pytest", Format::Pytest),
        ),
        (&[(".venv/lib/test_a.py", PLAIN), ("node_modules/x/test_b.py", PLAIN)], None),
        (&[("package.json", &package("jest"))], some(&format!("{PATH}jest \"$@\" sh"), Format::Jest)),
        (
            &[("package.json", &package("tsc && vitest run"))],
            some(&format!("{PATH}tsc && vitest run \"$@\" sh"), Format::Vitest),
        ),
        (
            &[("package.json", &package("nyc mocha test/ && eslint ."))],
            some(&format!("{PATH}nyc mocha test/ \"$@\" sh"), Format::Mocha),
        ),
        (
            &[("package.json", &package("node --test test/"))],
            some(&format!("{PATH}node --test \"$@\" test/ sh"), Format::Node),
        ),
        (
            &[("package.json", &package("node --test --test-reporter=spec"))],
            some(&format!("{PATH}node --test --test-reporter=spec sh"), Format::Plain),
        ),
        (&[("package.json", &package("ava"))], some(&format!("{PATH}ava --tap sh"), Format::Tap)),
        (
            &[("package.json", &package("mocha a && mocha b"))],
            some(&format!("{PATH}mocha a && mocha b sh"), Format::Plain),
        ),
        (
            &[("package.json", &package("node test.js"))],
            some(&format!("{PATH}node test.js sh"), Format::Plain),
        ),
        (&[("package.json", &package("mocha || true"))], some("npm test", Format::Plain)),
        (&[("package.json", &package("echo \\\"Error: no test specified\\\" && exit 1"))], None),
        (&[("package.json", "{ not json")], None),
        (
            &[("package.json", "{\"devDependencies\":{\"jest\":\"1\"}}"), ("a.test.js", "")],
            some("node_modules/.bin/jest", Format::Jest),
        ),
        (&[("package.json", "{}"), ("test/a.js", "require('node:test')")], some("node --test", Format::Node)),
        (&[("Makefile", ".PHONY: test\nall: a\ntest: all\n\t./run\n")], some("make test", Format::Plain)),
        (&[("Makefile", "check : x\n")], some("make check", Format::Plain)),
        (&[("Makefile", "test := 1\n\ttest: no\n# test: no\n.PHONY: test\n")], None),
    ];
    for (files, expected) in cases {
        assert_eq!(&found(files), expected, "{files:?}");
    }
}

#[test]
fn the_hooks_of_unittest_are_its_own_and_no_tests_for_pytest() {
    let unittest = some("python3 -m unittest discover -v -s tests", Format::Unittest);
    let load = "def load_tests(loader, tests, pattern):\n    return tests\n";
    let suite = "def test_suite():\n    return make()\n";
    let file = |parts: &[&str]| found(&[("tests/test_a.py", &parts.concat())]);
    assert_eq!(file(&[CASES, load]), unittest);
    assert_eq!(file(&[CASES, suite]), unittest);
    assert_eq!(file(&[load]), unittest, "doctests and the like, which only the hook finds");
    assert_eq!(file(&[load, "def test_names():\n    return []\n"]), unittest);
    assert_eq!(file(&[CASES, "# def load_tests(\n", "def test_b():\n    pass\n"]), file(&[PLAIN]));
    assert_eq!(file(&[suite]), some("python3 -m pytest", Format::Pytest), "a test that is called so");
}

#[test]
fn of_several_ecosystems_the_first_in_order_is_taken() {
    let rust = ("Cargo.toml", "[package]");
    let package = ("package.json", "{\"scripts\":{\"test\":\"jest\"}}");
    let python = ("tests/test_a.py", PLAIN);
    let make = ("Makefile", "test:\n");
    let format = |files: &[(&str, &str)]| found(files).map(|(_, format)| format);
    assert_eq!(format(&[rust, package, python, make]), Some(Format::Cargo));
    assert_eq!(format(&[rust, ("pyproject.toml", "requires = [\"maturin\"]"), python]), Some(Format::Pytest));
    assert_eq!(format(&[package, python, make]), Some(Format::Jest));
    assert_eq!(format(&[package, python, ("setup.py", "")]), Some(Format::Pytest));
    assert_eq!(format(&[python, make]), Some(Format::Pytest));
    assert_eq!(format(&[make, ("package.json", "{}")]), Some(Format::Plain));
}

#[test]
fn a_file_that_may_not_be_read_counts_as_absent() {
    let host = Host::new()
        .file("Cargo.toml", "[package]")
        .file("Makefile", "test:\n")
        .refuse(|_, path| (path == "Cargo.toml").then(|| sortie_sdk::Error::denied("no")));
    let plan = host.enter(detect).expect("not an error").expect("the Makefile is left");
    assert_eq!(plan.command, ["make", "test"]);
}
