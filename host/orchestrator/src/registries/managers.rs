//! The package managers: how each is asked, and how its answer is read.

use super::Names;
use super::answers::{
    Read, cargo_downloads, cargo_registries, composer_repositories, gem_sources, go_proxies,
    gradle_repositories, lines, maven_repositories, npm_registries, pip_indexes, pnpm_registries,
    poetry_index, uv_indexes,
};

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
        read: cargo_registries,
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
        // older ones list certificates, too, more of them than are read
        question: r#"
            command -v pnpm >/dev/null || exit 0
            pnpm config get registry
            pnpm config list --json | grep ':registry":'"#,
        read: pnpm_registries,
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
            ask='uv pip install --dry-run --no-cache --target into sortie-asks'
            $ask
            $ask --offline --index-strategy unsafe-best-match -vvv 2>&1 | grep -F /sortie-asks/"#,
        read: uv_indexes,
        then: None,
    },
    Manager {
        name: "poetry",
        used: |names| any(names, &["poetry.lock"]),
        question: r#"
            command -v poetry >/dev/null || exit 0
            export POETRY_VIRTUALENVS_CREATE=false
            mkdir poetry && cd poetry && poetry init --no-interaction --quiet --name ask && poetry add --lock sortie-asks
            python3 -c 'from pip._internal.models.index import PyPI
print("pip", PyPI.simple_url, "https://" + PyPI.file_storage_domain)'"#,
        read: poetry_index,
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
        read: maven_repositories,
        then: None,
    },
    Manager {
        name: "gradle",
        used: |names| {
            any(names, &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"])
        },
        // what its own words for repositories stand for, in a build that is ours
        question: r#"
            command -v gradle >/dev/null || exit 0
            mkdir gradle && cd gradle && : > settings.gradle
            printf '%s\n' 'repositories { gradlePluginPortal(); mavenCentral(); google() }' \
                'repositories.each { println("ask " + it.url) }' > build.gradle
            gradle --offline --no-daemon --quiet --gradle-user-home "$PWD/home" help"#,
        read: gradle_repositories,
        then: None,
    },
    Manager {
        name: "bundler",
        used: |names| any(names, &["Gemfile", "Gemfile.lock", "gems.rb", "gems.locked"]),
        question: r#"
            command -v gem >/dev/null || exit 0
            gem sources --list
            command -v bundle >/dev/null || exit 0
            bundle config list --parseable
            export BUNDLE_RETRY=0
            mkdir bundler && cd bundler || exit 0
            for source in $(gem sources --list | grep ^http); do
                printf 'source "%s"\ngem "sortie-asks"\n' "$source" > Gemfile
                bundle lock --verbose | grep '^HTTP GET '
            done"#,
        read: gem_sources,
        then: None,
    },
    Manager {
        name: "composer",
        used: |names| any(names, &["composer.json", "composer.lock"]),
        question: "command -v composer >/dev/null || exit 0; composer config --global repositories",
        read: composer_repositories,
        then: None,
    },
];

/// Those that have no way to say it.
pub(super) const SILENT: &[Silent] =
    &[Silent { name: "bun", used: |names| any(names, &["bun.lock", "bun.lockb"]) }];

/// Whether a name in the root of a work tree says how it is installed, or by which program.
pub(crate) fn is_manifest(name: &str) -> bool {
    let alone = Names::from([name.to_owned()]);
    ["gradlew", "mvnw"].contains(&name)
        || MANAGERS.iter().any(|manager| manager.is_used(&alone))
        || SILENT.iter().any(|silent| silent.is_used(&alone))
}

fn any(names: &Names, wanted: &[&str]) -> bool {
    wanted.iter().any(|name| names.contains(*name))
}

fn is_python(names: &Names) -> bool {
    let manifests =
        ["pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "poetry.lock", "Pipfile", "Pipfile.lock"];
    any(names, &manifests) || names.iter().any(|name| sortie_environment::is_requirements(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(names: &[&str]) -> Vec<&'static str> {
        let names = names.iter().map(ToString::to_string).collect();
        MANAGERS.iter().filter(|manager| manager.is_used(&names)).map(|manager| manager.name).collect()
    }

    #[test]
    fn what_is_detected_is_detected_by_manifests_alone() {
        for names in [
            &["Cargo.toml", "package.json", "npm-shrinkwrap.json", "requirements.txt"][..],
            &["package.json", "package-lock.json", "setup.cfg", "go.mod"],
            &["package.json", "pnpm-lock.yaml", "setup.py", "requirements-dev.txt"],
            &["package.json", "yarn.lock", "pyproject.toml", "uv.lock"],
            &["package.json", "bun.lock", "poetry.lock", "pom.xml", "mvnw"],
            &["package.json", "bun.lockb", "Pipfile", "Pipfile.lock", "build.gradle", "gradlew"],
            &["settings.gradle.kts", "Gemfile", "Gemfile.lock", "composer.json", "composer.lock"],
        ] {
            let all: Names = names.iter().map(ToString::to_string).collect();
            let manifests: Names = all.iter().filter(|name| is_manifest(name)).cloned().collect();
            assert_eq!(manifests, all);
        }
        assert!([".env", "src/", "README.md", "Cargo.toml.orig"].iter().all(|name| !is_manifest(name)));
    }

    #[test]
    fn those_whose_manifests_are_there_are_asked_and_no_others() {
        assert_eq!(used(&["Cargo.toml", "src/"]), ["cargo"]);
        assert_eq!(used(&["package.json", "yarn.lock"]), ["npm", "yarn"]);
        assert_eq!(used(&["requirements-dev.txt"]), ["pip"]);
        assert_eq!(used(&["pyproject.toml", "uv.lock", "pom.xml"]), ["pip", "uv", "maven"]);
        assert_eq!(used(&["README.md", ".npmrc", "pip.conf"]), Vec::<&str>::new());
        assert_eq!(used(&["Gemfile"]), ["bundler"]);
        assert_eq!(used(&["build.gradle.kts"]), ["gradle"]);
        assert_eq!(used(&["poetry.lock"]), ["pip", "poetry"]);
        assert_eq!(used(&["Pipfile"]), ["pip"]);
        assert_eq!(used(&["composer.json"]), ["composer"]);
        let names = ["bun.lock".to_owned()].into();
        assert_eq!(
            SILENT
                .iter()
                .filter(|silent| silent.is_used(&names))
                .map(|silent| silent.name)
                .collect::<Vec<_>>(),
            ["bun"]
        );
    }
}
