//! Which registries the user's package managers are set to, for the
//! workspace: without it they would ask the public ones where a company has
//! mirrors of its own.
//!
//! Of variables and files, the settings below and no others are passed on,
//! and of URLs no user, password, query or fragment: whatever is a credential
//! stays on the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use url::Url;

/// The longest settings file that is read, in bytes.
const MAX_TEXT: u64 = 256 << 10;

/// Variables that name registries.
const VARIABLES: [&str; 17] = [
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "NPM_CONFIG_REGISTRY",
    "PIP_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PNPM_CONFIG_REGISTRY",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
    "YARN_NPM_REGISTRY_SERVER",
    "YARN_REGISTRY",
    "npm_config_registry",
    "pnpm_config_registry",
];

/// The user's variables that name registries; `variable` reads the
/// environment, usually `std::env::var_os`.
pub fn variables(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(String, String)> {
    let plain = |name: &str| Some((name.to_owned(), plain_value(name, variable(name)?.to_str()?)?));
    VARIABLES.into_iter().filter_map(plain).collect()
}

/// The user's files that name registries, by their paths below a home, with
/// nothing else in them. `home` is the user's; `variable` as above.
pub(crate) fn files(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<(PathBuf, String)> {
    let named = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = named("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let cargo = named("CARGO_HOME").unwrap_or_else(|| home.join(".cargo"));
    let npm = named("NPM_CONFIG_USERCONFIG").or_else(|| named("npm_config_userconfig"));
    // the later ones count more
    let pip = [
        Some(PathBuf::from("/etc/xdg/pip/pip.conf")),
        Some("/etc/pip.conf".into()),
        Some(home.join(".pip/pip.conf")),
        Some(config.join("pip/pip.conf")),
        named("PIP_CONFIG_FILE"),
    ];
    let one = |path: PathBuf| read(&path).unwrap_or_default();
    let found = [
        (".cargo/config.toml", cargo_config(&one(first(&cargo, ["config", "config.toml"])))),
        (".config/go/env", go_env(&one(named("GOENV").unwrap_or_else(|| config.join("go/env"))))),
        (".config/pip/pip.conf", pip_conf(pip.into_iter().flatten().filter_map(|path| read(&path)))),
        (".config/uv/uv.toml", uv_toml(&one(config.join("uv/uv.toml")))),
        (".npmrc", npmrc(&one(npm.unwrap_or_else(|| home.join(".npmrc"))))),
        (".yarnrc", yarnrc(&one(home.join(".yarnrc")))),
        (".yarnrc.yml", yarnrc_yml(&one(home.join(".yarnrc.yml")))),
    ];
    found.into_iter().filter_map(|(path, text)| Some((path.into(), text?))).collect()
}

/// The first of these that is there.
fn first(folder: &Path, names: [&str; 2]) -> PathBuf {
    names.map(|name| folder.join(name)).into_iter().find(|path| path.is_file()).unwrap_or_default()
}

fn read(path: &Path) -> Option<String> {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_TEXT);
    let mut text = String::new();
    is_file.then(|| fs::File::open(path).ok()?.take(MAX_TEXT).read_to_string(&mut text).ok())??;
    Some(text)
}

/// A URL without its credentials; none if it is none, or takes something from
/// the environment.
fn plain_url(text: &str) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'']);
    let (kind, bare) = match text.strip_prefix("sparse+") {
        Some(bare) => ("sparse+", bare),
        None => ("", text),
    };
    let mut url = Url::parse(bare).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if text.contains("${") || text.contains("%(") {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(format!("{kind}{url}"))
}

/// A list of URLs, of `NAME=URL`, and where Go takes them of words such as
/// `direct`, with what stands between them; none if nothing of it is left.
fn plain_value(name: &str, text: &str) -> Option<String> {
    let takes_words = name.starts_with("GO");
    let is_between = |c: char| c.is_whitespace() || c == ',' || c == '|';
    let mut plain = String::new();
    for piece in text.split_inclusive(is_between) {
        let word = piece.trim_end_matches(is_between);
        let between = &piece[word.len()..];
        if let Some(word) = plain_word(word).filter(|word| takes_words || word.contains("://")) {
            plain.push_str(&word);
            plain.push_str(between);
        }
    }
    let plain = plain.trim_end_matches(is_between);
    (!plain.is_empty()).then(|| plain.to_owned())
}

fn plain_word(word: &str) -> Option<String> {
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '/' | '+' | '='))
    };
    if !word.contains("://") {
        return (!word.is_empty() && is_plain(word)).then(|| word.to_owned());
    }
    match word.split_once('=').filter(|(name, _)| !name.contains(':')) {
        Some((name, url)) => {
            is_plain(name).then_some(()).and_then(|()| plain_url(url)).map(|url| format!("{name}={url}"))
        }
        None => plain_url(word),
    }
}

/// Lines as a file; none if there are none.
fn file(lines: impl IntoIterator<Item = String>) -> Option<String> {
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    (!text.is_empty()).then_some(text)
}

/// `registry = URL` and `@scope:registry = URL`.
fn npmrc(text: &str) -> Option<String> {
    file(text.lines().filter_map(|line| {
        let (key, url) = line.split_once('=')?;
        let key = key.trim();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        let scope = key.strip_prefix('@').and_then(|key| key.strip_suffix(":registry"));
        let is_registry = key == "registry" || scope.is_some_and(|scope| scope.chars().all(is_plain));
        is_registry.then(|| plain_url(url)).flatten().map(|url| format!("{key}={url}"))
    }))
}

/// `registry "URL"`
fn yarnrc(text: &str) -> Option<String> {
    file(text.lines().filter_map(|line| {
        let url = plain_url(line.strip_prefix("registry ")?)?;
        Some(format!("registry \"{url}\""))
    }))
}

/// `npmRegistryServer: "URL"`
fn yarnrc_yml(text: &str) -> Option<String> {
    file(text.lines().filter_map(|line| {
        let url = plain_url(line.strip_prefix("npmRegistryServer:")?)?;
        Some(format!("npmRegistryServer: \"{url}\""))
    }))
}

/// `GOPROXY=…` and the like.
fn go_env(text: &str) -> Option<String> {
    file(text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let is_known = name.starts_with("GO") && VARIABLES.contains(&name);
        is_known.then(|| plain_value(name, value)).flatten().map(|value| format!("{name}={value}"))
    }))
}

/// The indexes of all sections; a later file's count instead of an earlier
/// one's.
fn pip_conf(texts: impl Iterator<Item = String>) -> Option<String> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for text in texts {
        let (mut section, mut key) = (String::new(), String::new());
        let mut values: BTreeMap<(String, String), String> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                (section, key) = (name.to_owned(), String::new());
            } else if line.starts_with(char::is_whitespace) {
                // a value goes on over lines that are set in
                if let Some(value) = values.get_mut(&(section.clone(), key.clone())) {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(['=', ':']) {
                key = name.trim().to_lowercase().replace('_', "-");
                values.insert((section.clone(), key.clone()), value.trim().to_owned());
            }
        }
        for ((section, key), value) in values {
            let is_plain = section.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
            if !is_plain || !matches!(key.as_str(), "index-url" | "extra-index-url" | "find-links") {
                continue;
            }
            let urls: Vec<_> = value.split_whitespace().filter_map(plain_url).collect();
            if !urls.is_empty() {
                sections.entry(section).or_default().insert(key, urls.join(" "));
            }
        }
    }
    file(sections.into_iter().flat_map(|(section, values)| {
        let values = values.into_iter().map(|(key, urls)| format!("{key} = {urls}"));
        std::iter::once(format!("[{section}]")).chain(values)
    }))
}

/// Registries and what replaces the default one.
fn cargo_config(text: &str) -> Option<String> {
    let settings: toml::Table = text.parse().ok()?;
    let mut plain = toml::Table::new();
    for (group, keys) in [("registries", ["index", ""].as_slice()), ("source", &["registry", "replace-with"])]
    {
        let entries = settings.get(group).and_then(toml::Value::as_table).into_iter().flatten();
        let entries = entries.filter_map(|(name, entry)| {
            let of = |key: &&str| {
                let value = entry.get(*key)?.as_str()?;
                let value = if *key == "replace-with" { value.to_owned() } else { plain_url(value)? };
                Some(((*key).to_owned(), toml::Value::String(value)))
            };
            let entry: toml::Table = keys.iter().filter_map(of).collect();
            (!entry.is_empty()).then(|| (name.clone(), toml::Value::Table(entry)))
        });
        let entries: toml::Table = entries.collect();
        if !entries.is_empty() {
            plain.insert(group.to_owned(), toml::Value::Table(entries));
        }
    }
    (!plain.is_empty()).then(|| plain.to_string())
}

/// The indexes.
fn uv_toml(text: &str) -> Option<String> {
    let settings: toml::Table = text.parse().ok()?;
    let mut plain = toml::Table::new();
    if let Some(url) = settings.get("index-url").and_then(toml::Value::as_str).and_then(plain_url) {
        plain.insert("index-url".into(), url.into());
    }
    let list = |key: &str| settings.get(key).and_then(toml::Value::as_array).into_iter().flatten();
    let extra: Vec<_> = list("extra-index-url").filter_map(|url| plain_url(url.as_str()?)).collect();
    if !extra.is_empty() {
        plain.insert("extra-index-url".into(), extra.into());
    }
    let indexes = list("index").filter_map(|index| {
        let mut entry = toml::Table::new();
        entry.insert("url".into(), plain_url(index.get("url")?.as_str()?)?.into());
        if let Some(name) = index.get("name").and_then(toml::Value::as_str) {
            entry.insert("name".into(), name.into());
        }
        for flag in ["default", "explicit"] {
            if let Some(value) = index.get(flag).and_then(toml::Value::as_bool) {
                entry.insert(flag.into(), value.into());
            }
        }
        Some(toml::Value::Table(entry))
    });
    let indexes: Vec<_> = indexes.collect();
    if !indexes.is_empty() {
        plain.insert("index".into(), toml::Value::Array(indexes));
    }
    (!plain.is_empty()).then(|| plain.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2";

    fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("is made");
            fs::write(path, text).expect("is written");
        }
        home
    }

    #[test]
    fn registries_are_passed_on_and_no_credential_is() {
        let home = home(&[
            (
                ".npmrc",
                "registry = https://u:hunter2@npm.example/\n@corp:registry=https://corp.example/npm/?t=hunter2\n\
                 //npm.example/:_authToken=hunter2\n_auth=hunter2\nproxy=https://hunter2\n@a b:registry=https://x.example/\n\
                 @env:registry=https://${HUNTER}.example/\n",
            ),
            (
                ".config/pip/pip.conf",
                "[global]\nindex-url = https://hunter2@pip.example/simple\nextra_index_url =\n  https://a.example/s\n  \
                 https://b.example/s#hunter2\nclient-cert = /hunter2\n[install]\nfind-links = /opt https://l.example/\n",
            ),
            (
                ".cargo/config.toml",
                "[registries.corp]\nindex = \"sparse+https://u:hunter2@crates.example/i/\"\ntoken = \"hunter2\"\n\
                 [source.crates-io]\nreplace-with = \"corp\"\n[net]\ngit-fetch-with-cli = true\n[alias]\nx = \"hunter2\"\n",
            ),
            (".config/go/env", "GOPROXY=https://u:hunter2@go.example,direct\nGOFLAGS=-x=hunter2\n"),
            (
                ".config/uv/uv.toml",
                "index-url = \"https://hunter2@uv.example/simple\"\n[[index]]\nname = \"c\"\nurl = \"https://c.example\"\n\
                 default = true\npublish-url = \"https://hunter2.example\"\n",
            ),
            (".yarnrc.yml", "npmRegistryServer: \"https://yarn.example\"\nnpmAuthToken: hunter2\n"),
            (".yarnrc", "registry \"https://old.example\"\n\"//old.example/:_authToken\" hunter2\n"),
        ]);
        let files: BTreeMap<_, _> = files(home.path(), |_| None)
            .into_iter()
            .map(|(path, text)| (path.display().to_string(), text))
            .collect();
        assert!(files.values().all(|text| !text.contains(SECRET)), "{files:#?}");
        let of = |path: &str| files.get(path).map(String::as_str).unwrap_or_default();
        assert_eq!(of(".npmrc"), "registry=https://npm.example/\n@corp:registry=https://corp.example/npm/\n");
        // this machine's own file may name a default beside it
        for line in [
            "index-url = https://pip.example/simple\n",
            "extra-index-url = https://a.example/s https://b.example/s\n",
            "find-links = https://l.example/\n",
        ] {
            assert!(of(".config/pip/pip.conf").contains(line), "{line}: {}", of(".config/pip/pip.conf"));
        }
        let cargo: toml::Table = of(".cargo/config.toml").parse().expect("it is TOML");
        let expected: toml::Table = "[registries.corp]\nindex = \"sparse+https://crates.example/i/\"\n\
                                     [source.crates-io]\nreplace-with = \"corp\"\n"
            .parse()
            .expect("it is TOML");
        assert_eq!(cargo, expected);
        assert_eq!(of(".config/go/env"), "GOPROXY=https://go.example/,direct\n");
        assert!(
            of(".config/uv/uv.toml").contains("https://uv.example/simple"),
            "{}",
            of(".config/uv/uv.toml")
        );
        assert!(of(".config/uv/uv.toml").contains("default = true"), "{}", of(".config/uv/uv.toml"));
        assert_eq!(of(".yarnrc.yml"), "npmRegistryServer: \"https://yarn.example/\"\n");
        assert_eq!(of(".yarnrc"), "registry \"https://old.example/\"\n");
    }

    #[test]
    fn without_a_registry_in_it_a_file_is_not_passed_on() {
        let home = home(&[
            (".npmrc", "audit=false\n//npm.example/:_authToken=hunter2\n"),
            (".cargo/config.toml", "[build]\njobs = 2\n"),
            (".config/uv/uv.toml", "not toml ["),
        ]);
        let files = files(home.path(), |_| None);
        let own = files.iter().filter(|(path, _)| !path.ends_with("pip.conf")).count();
        assert_eq!(own, 0, "{files:#?}");
    }

    #[test]
    fn variables_that_name_registries_are_passed_on_without_their_credentials() {
        let set = |name: &str| {
            Some(OsString::from(match name {
                "PIP_INDEX_URL" => "https://u:hunter2@pip.example/simple",
                "GOPROXY" => "https://go.example|direct",
                "GOSUMDB" => "sum.example+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8=",
                "GOPRIVATE" => "*.corp.example,git.example/x",
                "UV_INDEX" => "corp=https://hunter2@uv.example/simple https://b.example/",
                "NPM_CONFIG_REGISTRY" => "not a url @hunter2",
                "YARN_REGISTRY" => "user:hunter2@yarn.example",
                _ => return None,
            }))
        };
        let variables: BTreeMap<_, _> = variables(set).into_iter().collect();
        assert!(variables.values().all(|value| !value.contains(SECRET)), "{variables:#?}");
        for (name, value) in [
            ("PIP_INDEX_URL", "https://pip.example/simple"),
            ("GOPROXY", "https://go.example/|direct"),
            ("GOSUMDB", "sum.example+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8="),
            ("GOPRIVATE", "*.corp.example,git.example/x"),
            ("UV_INDEX", "corp=https://uv.example/simple https://b.example/"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        for odd in ["YARN_REGISTRY", "NPM_CONFIG_REGISTRY"] {
            assert!(!variables.contains_key(odd), "{odd}");
        }
    }
}
