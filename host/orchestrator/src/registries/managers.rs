//! The package managers: how each is asked, and how its answer is read.

use serde_json::Value;

use super::{Answer, Names};

/// Reads an answer: the URLs in it.
type Read = fn(&Answer) -> Vec<String>;

/// A package manager that says which hosts it would contact.
pub(super) struct Manager {
    pub(super) name: &'static str,
    /// Whether what lies in the root of the work tree is for it.
    used: fn(&Names) -> bool,
    /// For `sh -c`, in an empty folder, without a way out.
    pub(super) question: &'static str,
    pub(super) read: Read,
    /// A question that needs the hosts of the first answer.
    pub(super) then: Option<(&'static str, Read)>,
}

/// One that does not.
pub(super) struct Silent {
    pub(super) name: &'static str,
    used: fn(&Names) -> bool,
}

impl Manager {
    pub(super) fn is_used(&self, names: &Names) -> bool {
        (self.used)(names)
    }
}

impl Silent {
    pub(super) fn is_used(&self, names: &Names) -> bool {
        (self.used)(names)
    }
}

/// Those that were tried with the real program.
pub(super) const MANAGERS: &[Manager] = &[
    Manager {
        name: "cargo",
        used: |names| any(names, &["Cargo.toml", "Cargo.lock"]),
        question: r#"
            command -v cargo >/dev/null || exit 0
            mkdir -p ask/src && cd ask && : > src/lib.rs
            printf '[package]\nname = "ask"\nversion = "0.0.0"\n[dependencies]\nsortie-asks = "*"\n' > Cargo.toml
            export CARGO_NET_RETRY=0
            cargo fetch
            RUSTC_BOOTSTRAP=1 cargo -Zunstable-options config get registries"#,
        read: |answer| {
            let mut urls = quoted(&answer.stderr, '`', '`');
            urls.extend(cargo_indexes(&answer.stdout));
            urls
        },
        then: Some((
            r#"
            cd ask && export CARGO_NET_RETRY=1
            cargo fetch >/dev/null 2>&1
            cat "${CARGO_HOME:-$HOME/.cargo}"/registry/index/*/config.json"#,
            cargo_downloads,
        )),
    },
    Manager {
        name: "npm",
        used: |names| any(names, &["package.json", "package-lock.json", "npm-shrinkwrap.json"]),
        question: "command -v npm >/dev/null || exit 0; npm config ls --json",
        read: npm_registries,
        then: None,
    },
    Manager {
        name: "pnpm",
        used: |names| any(names, &["pnpm-lock.yaml"]),
        question: "command -v pnpm >/dev/null || exit 0; pnpm config get registry",
        read: lines,
        then: None,
    },
    Manager {
        name: "yarn",
        used: |names| any(names, &["yarn.lock"]),
        question: "command -v yarn >/dev/null || exit 0; yarn config get registry; yarn config get npmRegistryServer",
        read: lines,
        then: None,
    },
    Manager {
        name: "pip",
        used: is_python,
        question: r#"
            command -v python3 >/dev/null || exit 0
            python=python3
            python3 -m pip --version >/dev/null 2>&1 || { python3 -m venv venv >/dev/null && python=venv/bin/python; }
            $python -m pip config list
            echo --
            $python -c 'from pip._internal.models.index import PyPI
print(PyPI.simple_url)
print("https://" + PyPI.file_storage_domain)'"#,
        read: pip_indexes,
        then: None,
    },
    Manager {
        name: "uv",
        used: |names| any(names, &["uv.lock"]),
        question: r#"
            command -v uv >/dev/null || exit 0
            export UV_HTTP_RETRIES=0 UV_PYTHON_DOWNLOADS=never
            uv pip install --dry-run --no-cache --target into sortie-asks"#,
        read: uv_index,
        then: None,
    },
    Manager {
        name: "go",
        used: |names| any(names, &["go.mod", "go.work"]),
        question: "command -v go >/dev/null || exit 0; go env GOPROXY GOSUMDB",
        read: go_proxies,
        then: None,
    },
    Manager {
        name: "maven",
        used: |names| any(names, &["pom.xml"]),
        question: r#"
            command -v mvn >/dev/null || exit 0
            mvn --offline --batch-mode -Dmaven.repo.local="$PWD/m2" help:evaluate"#,
        read: |answer| quoted(&answer.stdout, '(', ')'),
        then: None,
    },
    Manager {
        name: "bundler",
        used: |names| any(names, &["Gemfile", "Gemfile.lock", "gems.rb", "gems.locked"]),
        question: r#"
            command -v gem >/dev/null || exit 0
            gem sources --list
            command -v bundle >/dev/null && bundle config list --parseable"#,
        read: gem_sources,
        then: None,
    },
];

/// Those that have no way to say it, and those whose way nobody has tried.
pub(super) const SILENT: &[Silent] = &[Silent {
    name: "gradle",
    used: |names| any(names, &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"]),
}];

fn any(names: &Names, wanted: &[&str]) -> bool {
    wanted.iter().any(|name| names.contains(*name))
}

fn is_python(names: &Names) -> bool {
    let manifests = ["pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "poetry.lock"];
    any(names, &manifests) || names.iter().any(|name| sortie_environment::is_requirements(name))
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// URLs that stand alone on a line.
fn lines(answer: &Answer) -> Vec<String> {
    answer.stdout.lines().map(str::trim).filter(|line| is_url(line)).map(str::to_owned).collect()
}

/// URLs between these characters.
fn quoted(text: &str, open: char, close: char) -> Vec<String> {
    let pieces = text.split(open).skip(1).filter_map(|piece| piece.split(close).next());
    pieces.filter(|piece| is_url(piece)).map(str::to_owned).collect()
}

/// `registries.corp.index = "sparse+https://…"`
fn cargo_indexes(text: &str) -> Vec<String> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        let index = key.strip_suffix(".index")?.starts_with("registries.").then_some(value)?;
        let index = index.trim().trim_matches('"');
        Some(index.strip_prefix("sparse+").unwrap_or(index).to_owned())
    });
    values.filter(|value| is_url(value)).collect()
}

/// Where registries keep their packages, as their own `config.json` says.
fn cargo_downloads(answer: &Answer) -> Vec<String> {
    let documents = serde_json::Deserializer::from_str(&answer.stdout).into_iter::<Value>();
    documents.map_while(Result::ok).filter_map(|document| Some(document["dl"].as_str()?.to_owned())).collect()
}

/// The registry, and those of scopes.
fn npm_registries(answer: &Answer) -> Vec<String> {
    let Ok(Value::Object(settings)) = serde_json::from_str(&answer.stdout) else { return Vec::new() };
    let registries = settings.iter().filter(|(key, _)| *key == "registry" || key.ends_with(":registry"));
    registries.filter_map(|(_, value)| Some(value.as_str()?.to_owned())).collect()
}

/// The index that could not be reached; some versions quote it.
fn uv_index(answer: &Answer) -> Vec<String> {
    let failed = answer.stderr.lines().filter_map(|line| line.split_once("Failed to fetch:"));
    let urls = failed.map(|(_, url)| url.trim().trim_matches('`'));
    urls.filter(|url| is_url(url)).map(str::to_owned).collect()
}

/// The module proxies, and the database of checksums: a name, or `NAME+KEY`
/// and a URL.
fn go_proxies(answer: &Answer) -> Vec<String> {
    let (proxies, sums) = answer.stdout.split_once('\n').unwrap_or((&answer.stdout, ""));
    let mut urls: Vec<_> =
        proxies.split([',', '|']).map(str::trim).filter(|url| is_url(url)).map(str::to_owned).collect();
    let mut words = sums.split_whitespace();
    match (words.next(), words.next()) {
        (Some(_), Some(url)) if is_url(url) => urls.push(url.to_owned()),
        (Some(name), None) if name != "off" => {
            urls.push(format!("https://{}", name.split('+').next().unwrap_or(name)));
        }
        _ => {}
    }
    urls
}

/// The sources, less those that a mirror stands for: `mirror.URL=URL` and
/// `mirror.all=URL`.
fn gem_sources(answer: &Answer) -> Vec<String> {
    let mirrors: Vec<_> = answer
        .stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mirror.")?.split_once('='))
        .filter(|(_, url)| is_url(url))
        .collect();
    let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
    let is_mirrored = |url: &String| mirrors.iter().any(|(of, _)| *of == "all" || same(of, url));
    let mut urls = lines(answer);
    urls.retain(|url| !is_mirrored(url));
    urls.extend(mirrors.iter().map(|(_, url)| (*url).to_owned()));
    urls
}

/// What is configured; the default where no index is.
fn pip_indexes(answer: &Answer) -> Vec<String> {
    let (configured, default) = answer.stdout.split_once("--\n").unwrap_or((&answer.stdout, ""));
    let mut urls = Vec::new();
    let mut is_replaced = false;
    for (key, value) in configured.lines().filter_map(|line| line.split_once('=')) {
        let Some((_, name)) = key.rsplit_once('.') else { continue };
        if !matches!(name, "index-url" | "extra-index-url" | "find-links") {
            continue;
        }
        let value = value.trim().trim_matches(['\'', '"']).replace("\\n", " ");
        let found: Vec<_> = value.split_whitespace().filter(|word| is_url(word)).map(str::to_owned).collect();
        is_replaced |= name == "index-url" && !found.is_empty();
        urls.extend(found);
    }
    if !is_replaced {
        urls.extend(default.lines().map(str::trim).filter(|line| is_url(line)).map(str::to_owned));
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout(text: &str) -> Answer {
        Answer { stdout: text.into(), stderr: String::new() }
    }

    fn manager(name: &str) -> &'static Manager {
        MANAGERS.iter().find(|manager| manager.name == name).expect("it is known")
    }

    fn used(names: &[&str]) -> Vec<&'static str> {
        let names = names.iter().map(ToString::to_string).collect();
        MANAGERS.iter().filter(|manager| manager.is_used(&names)).map(|manager| manager.name).collect()
    }

    #[test]
    fn those_whose_manifests_are_there_are_asked_and_no_others() {
        assert_eq!(used(&["Cargo.toml", "src/"]), ["cargo"]);
        assert_eq!(used(&["package.json", "yarn.lock"]), ["npm", "yarn"]);
        assert_eq!(used(&["requirements-dev.txt"]), ["pip"]);
        assert_eq!(used(&["pyproject.toml", "uv.lock", "pom.xml"]), ["pip", "uv", "maven"]);
        assert_eq!(used(&["README.md", ".npmrc", "pip.conf"]), Vec::<&str>::new());
        assert_eq!(used(&["Gemfile"]), ["bundler"]);
        let names = ["build.gradle.kts".to_owned()].into();
        assert_eq!(
            SILENT
                .iter()
                .filter(|silent| silent.is_used(&names))
                .map(|silent| silent.name)
                .collect::<Vec<_>>(),
            ["gradle"]
        );
    }

    #[test]
    fn cargo_names_what_it_could_not_reach_and_other_registries() {
        let answer = Answer {
            stdout: "registries.corp.index = \"sparse+https://crates.corp.example/index/\"\n\
                     registries.old.index = \"https://git.corp.example/index\"\n\
                     registries.odd.token = \"https://no.example\"\n"
                .into(),
            stderr:
                "    Updating index\nerror: failed to get `sortie-asks`\n\nCaused by:\n  failed to download \
                     from `https://index.example/config.json`\n"
                    .into(),
        };
        assert_eq!(
            (manager("cargo").read)(&answer),
            [
                "https://index.example/config.json",
                "https://crates.corp.example/index/",
                "https://git.corp.example/index"
            ]
        );
        let answer = stdout(
            "{\"dl\": \"https://files.example/crates\", \"api\": \"https://no.example\"}\n{\"dl\": 7}{",
        );
        assert_eq!(cargo_downloads(&answer), ["https://files.example/crates"]);
    }

    #[test]
    fn npm_names_its_registry_and_those_of_scopes() {
        let answer = stdout(
            "{\"registry\": \"https://npm.example/\", \"@corp:registry\": \"https://npm.corp.example/\",\n\
             \"replace-registry-host\": \"npmjs\", \"cafile\": \"https://no.example\", \"x:registry\": null}",
        );
        let mut registries = npm_registries(&answer);
        registries.sort();
        assert_eq!(registries, ["https://npm.corp.example/", "https://npm.example/"]);
        assert_eq!(npm_registries(&stdout("npm: not found")), Vec::<String>::new());
    }

    #[test]
    fn pip_names_its_default_unless_an_index_replaces_it() {
        let default = "--\nhttps://default.example/simple\nhttps://files.example\n";
        let indexes = |configured: &str| pip_indexes(&stdout(&format!("{configured}{default}")));
        assert_eq!(indexes(""), ["https://default.example/simple", "https://files.example"]);
        assert_eq!(
            indexes("global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\n"),
            [
                "https://a.example/simple",
                "https://b.example/simple",
                "https://default.example/simple",
                "https://files.example"
            ]
        );
        assert_eq!(
            indexes(":env:.index-url='https://m.example/simple'\nglobal.cert='https://no.example'\n"),
            ["https://m.example/simple"]
        );
        assert_eq!(indexes("global.find-links='/opt/wheels'\n").len(), 2);
    }

    #[test]
    fn go_names_its_proxies_and_its_checksums() {
        let proxies = |text: &str| go_proxies(&stdout(text));
        assert_eq!(
            proxies("https://p.example/x|https://q.example,direct\nsums.example\n"),
            ["https://p.example/x", "https://q.example", "https://sums.example"]
        );
        assert_eq!(proxies("direct\nsums.example+key\n"), ["https://sums.example"]);
        assert_eq!(proxies("off\nsums.example+key https://s.example/db\n"), ["https://s.example/db"]);
        assert_eq!(proxies("off\noff\n"), Vec::<String>::new());
        assert_eq!(proxies(""), Vec::<String>::new());
    }

    #[test]
    fn bundler_names_the_sources_of_gems_and_the_mirrors_that_stand_for_them() {
        let sources = |config: &str| {
            let listed = "*** CURRENT SOURCES ***\n\nhttps://gems.example/\nhttps://corp.example/gems\n";
            gem_sources(&stdout(&format!("{listed}{config}")))
        };
        assert_eq!(sources("without=[:test]\n"), ["https://gems.example/", "https://corp.example/gems"]);
        assert_eq!(
            sources("mirror.https://gems.example=https://m.example:81/\nssl_ca_cert=https://no.example\n"),
            ["https://corp.example/gems", "https://m.example:81/"]
        );
        assert_eq!(sources("mirror.all=https://m.example/x\n"), ["https://m.example/x"]);
        assert_eq!(sources("mirror.all=/srv/gems\n").len(), 2);
        assert_eq!(gem_sources(&stdout("gem: not found")), Vec::<String>::new());
    }

    #[test]
    fn others_name_urls_in_their_messages() {
        let maven = "[ERROR] No plugin found in [local (/tmp/m2), central (https://maven.example/maven2)]\n\
                     [ERROR] [Help 1] http://help.example/no\n";
        assert_eq!((manager("maven").read)(&stdout(maven)), ["https://maven.example/maven2"]);
        for quoted in ["https://uv.example/simple/x/", "`https://uv.example/simple/x/`"] {
            let stderr =
                format!("error: Failed to fetch: {quoted}\n  cause: for url (https://no.example/)\n");
            let answer = Answer { stdout: String::new(), stderr };
            assert_eq!((manager("uv").read)(&answer), ["https://uv.example/simple/x/"]);
        }
        assert_eq!(
            (manager("yarn").read)(&stdout("https://yarn.example\nundefined\n")),
            ["https://yarn.example"]
        );
    }
}
