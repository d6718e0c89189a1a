//! How the answers of package managers are read. The tests hold what the real
//! programs print, with other hosts.

use serde_json::Value;

use super::Answer;

/// Reads an answer: the URLs in it.
pub(super) type Read = fn(&Answer) -> Vec<String>;

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// URLs that stand alone on a line.
pub(super) fn lines(answer: &Answer) -> Vec<String> {
    answer.stdout.lines().map(str::trim).filter(|line| is_url(line)).map(str::to_owned).collect()
}

/// URLs between these characters.
fn quoted(text: &str, open: char, close: char) -> Vec<String> {
    let pieces = text.split(open).skip(1).filter_map(|piece| piece.split(close).next());
    pieces.filter(|piece| is_url(piece)).map(str::to_owned).collect()
}

/// What could not be reached, and other registries.
pub(super) fn cargo_registries(answer: &Answer) -> Vec<String> {
    let mut urls = quoted(&answer.stderr, '`', '`');
    urls.extend(cargo_indexes(&answer.stdout));
    urls
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
pub(super) fn cargo_downloads(answer: &Answer) -> Vec<String> {
    let documents = serde_json::Deserializer::from_str(&answer.stdout).into_iter::<Value>();
    documents.map_while(Result::ok).filter_map(|document| Some(document["dl"].as_str()?.to_owned())).collect()
}

/// The registry, and those of scopes.
pub(super) fn npm_registries(answer: &Answer) -> Vec<String> {
    let Ok(Value::Object(settings)) = serde_json::from_str(&answer.stdout) else { return Vec::new() };
    let registries = settings.iter().filter(|(key, _)| *key == "registry" || key.ends_with(":registry"));
    registries.filter_map(|(_, value)| Some(value.as_str()?.to_owned())).collect()
}

/// The registry on a line of its own, and `"@scope:registry": "URL"`.
pub(super) fn pnpm_registries(answer: &Answer) -> Vec<String> {
    let mut urls = lines(answer);
    urls.extend(quoted(&answer.stdout, '"', '"'));
    urls
}

/// The indexes that would be asked for the package; only the first of them is
/// in the message that it cannot be reached.
pub(super) fn uv_indexes(answer: &Answer) -> Vec<String> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '`' | '(' | ')' | '"' | '\'' | ',');
    let words = [&answer.stderr, &answer.stdout].into_iter().flat_map(|text| text.split(ends));
    let urls = words.map(|word| word.trim_end_matches(':'));
    urls.filter(|url| is_url(url) && url.ends_with("/sortie-asks/")).map(str::to_owned).collect()
}

/// The host that could not be reached, and where pip says that its files lie
/// if that is pip's default index.
pub(super) fn poetry_index(answer: &Answer) -> Vec<String> {
    let said = format!("{}\n{}", answer.stdout, answer.stderr);
    let between = |open: &str, close: &str| {
        Some(said.split_once(open)?.1.split_once(close)?.0.trim())
            .filter(|host| !host.contains(char::is_whitespace))
    };
    let host = between("All attempts to connect to ", " failed").or_else(|| between("(host='", "'"));
    let Some(index) = host.map(|host| format!("https://{host}")) else { return Vec::new() };
    let pip = answer.stdout.lines().find_map(|line| line.strip_prefix("pip ")?.split_once(' '));
    let files = pip.filter(|(default, _)| default.starts_with(&format!("{index}/"))).map(|(_, files)| files);
    [Some(index.clone()), files.map(str::to_owned)].into_iter().flatten().collect()
}

/// The repositories that could not be reached, in brackets.
pub(super) fn maven_repositories(answer: &Answer) -> Vec<String> {
    quoted(&answer.stdout, '(', ')')
}

/// `ask URL`
pub(super) fn gradle_repositories(answer: &Answer) -> Vec<String> {
    let urls = answer.stdout.lines().filter_map(|line| line.strip_prefix("ask "));
    urls.map(str::trim).filter(|url| is_url(url)).map(str::to_owned).collect()
}

/// The repositories, by their names; those that are switched off are `false`.
pub(super) fn composer_repositories(answer: &Answer) -> Vec<String> {
    let Ok(Value::Object(repositories)) = serde_json::from_str(&answer.stdout) else { return Vec::new() };
    let urls = repositories.values().filter_map(|repository| repository["url"].as_str());
    urls.filter(|url| is_url(url)).map(str::to_owned).collect()
}

/// The module proxies, and the database of checksums: a name, or `NAME+KEY`
/// and a URL.
pub(super) fn go_proxies(answer: &Answer) -> Vec<String> {
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

/// The sources, less those that a mirror stands for (`mirror.URL=URL` and
/// `mirror.all=URL`), and where Bundler looks for what is in them: `HTTP GET URL`.
pub(super) fn gem_sources(answer: &Answer) -> Vec<String> {
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
    let asked = answer.stdout.lines().filter_map(|line| line.strip_prefix("HTTP GET "));
    urls.extend(asked.map(str::trim).filter(|url| is_url(url)).map(str::to_owned));
    urls
}

/// What is configured; the default where no index is.
pub(super) fn pip_indexes(answer: &Answer) -> Vec<String> {
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
            cargo_registries(&answer),
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
    fn bundler_looks_elsewhere_for_what_a_source_has() {
        let said = "*** CURRENT SOURCES ***\n\nhttps://gems.example/\nHTTP GET https://index.gems.example/versions\n\
                    HTTP GET nowhere\n";
        assert_eq!(
            gem_sources(&stdout(said)),
            ["https://gems.example/", "https://index.gems.example/versions"]
        );
    }

    #[test]
    fn pnpm_names_its_registry_and_those_of_scopes() {
        let said = "https://pnpm.example/\n  \"@corp:registry\": \"https://corp.example/npm/\",\n";
        assert_eq!(pnpm_registries(&stdout(said)), ["https://pnpm.example/", "https://corp.example/npm/"]);
        assert_eq!(pnpm_registries(&stdout("undefined\n")), Vec::<String>::new());
    }

    #[test]
    fn uv_names_each_index_that_it_would_look_into() {
        for quoted in ["https://uv.example/simple/sortie-asks/", "`https://uv.example/simple/sortie-asks/`"] {
            let stderr = format!(
                "error: Failed to fetch: {quoted}\n  cause: error sending request for url (https://no.example/)\n"
            );
            let answer = Answer { stdout: String::new(), stderr };
            assert_eq!(uv_indexes(&answer), ["https://uv.example/simple/sortie-asks/"]);
        }
        let traced = "TRACE Fetching metadata for `sortie-asks` from `https://a.example/simple/sortie-asks/`\n\
                      DEBUG Sending fresh GET request for: https://b.example/simple/sortie-asks/\n\
                      TRACE Considering retry of error: Error { kind: Offline(\"https://b.example/simple/sortie-asks/\") }\n";
        let mut indexes = uv_indexes(&stdout(traced));
        indexes.dedup();
        assert_eq!(
            indexes,
            ["https://a.example/simple/sortie-asks/", "https://b.example/simple/sortie-asks/"]
        );
    }

    #[test]
    fn poetry_names_its_host_and_pip_where_its_files_lie() {
        let failed = "\nAll attempts to connect to index.example failed.\n\nProbable Causes:\n - the server is not \
                      responding (https://no.example)\n";
        let of =
            |pip: &str, stderr: &str| poetry_index(&Answer { stdout: pip.into(), stderr: stderr.into() });
        let pip = "pip https://index.example/simple https://files.example\n";
        assert_eq!(of(pip, failed), ["https://index.example", "https://files.example"]);
        assert_eq!(
            of("pip https://other.example/simple https://files.example\n", failed),
            ["https://index.example"]
        );
        assert_eq!(
            of("", "HTTPSConnectionPool(host='index.example', port=443): …"),
            ["https://index.example"]
        );
        assert_eq!(of(pip, "All attempts to connect to a b failed"), Vec::<String>::new());
        assert_eq!(of(pip, ""), Vec::<String>::new());
    }

    #[test]
    fn gradle_names_what_its_own_words_stand_for() {
        let said = "ask https://plugins.example/m2\nask https://central.example/maven2/\n\nWelcome to Gradle.\n\
                    https://no.example\nask file:/srv/m2\n";
        assert_eq!(
            gradle_repositories(&stdout(said)),
            ["https://plugins.example/m2", "https://central.example/maven2/"]
        );
    }

    #[test]
    fn composer_names_its_repositories_and_none_that_is_off() {
        let said = "{\"default\":{\"type\":\"composer\",\"url\":\"https://php.example\"},\"off\":false,\
                    \"here\":{\"type\":\"path\",\"url\":\"/srv\"}}\n";
        assert_eq!(composer_repositories(&stdout(said)), ["https://php.example"]);
        assert_eq!(composer_repositories(&stdout("composer: not found")), Vec::<String>::new());
    }

    #[test]
    fn others_name_urls_in_their_messages() {
        let maven = "[ERROR] No plugin found in [local (/tmp/m2), central (https://maven.example/maven2)]\n\
                     [ERROR] [Help 1] http://help.example/no\n";
        assert_eq!(maven_repositories(&stdout(maven)), ["https://maven.example/maven2"]);
        let yarn = "Usage Error: Couldn't find a configuration settings named \"registry\"\nhttps://yarn.example\nundefined\n";
        assert_eq!(lines(&stdout(yarn)), ["https://yarn.example"]);
    }
}
