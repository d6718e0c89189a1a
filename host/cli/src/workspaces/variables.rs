//! How programs in a workspace are told of the way out.

use super::PROXY_PORT;

/// How programs are told of the proxy; the lower-case names are curl's and
/// older tools'.
pub(super) fn proxy_variables(services: &[String]) -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let to_proxy = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let to_proxy = to_proxy.map(|name| (name.to_owned(), proxy.clone()));
    let here = ["localhost", "127.0.0.1", "::1"];
    let here: Vec<_> = here.into_iter().chain(services.iter().map(String::as_str)).collect();
    let past_it = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), here.join(",")));
    to_proxy.into_iter().chain(past_it).chain(java_variables())
}

/// Java does not look at the variables of everybody else. Maven's client from
/// version 3.9 on has to be told to look at these, too.
fn java_variables() -> impl Iterator<Item = (String, String)> {
    let to_proxy = |scheme| format!("-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={PROXY_PORT}");
    let options = format!("{} {}", to_proxy("http"), to_proxy("https"));
    let maven = format!("{options} -Daether.connector.http.useSystemProperties=true");
    [("MAVEN_OPTS".to_owned(), maven), ("GRADLE_OPTS".to_owned(), options)].into_iter()
}
