//! The tool: from a URL to text.

use sortie_sdk::http::{Request, Response};
use sortie_sdk::prelude::*;
use url::Url;

use crate::content::{self, Kind};
use crate::page::{self, Into as Readable};
use crate::paging;

/// Redirects that are followed; each is a request of its own.
const MAX_REDIRECTS: usize = 5;
/// Bytes of a body that are read.
const MAX_BYTES: usize = 5 << 20;
/// The longest URL, in bytes.
const MAX_URL: usize = 8 << 10;
/// Characters returned by default, and at most.
const DEFAULT_CHARS: u32 = 9_000;
const MOST_CHARS: u32 = 30_000;
/// What is asked for, in order of preference.
const ACCEPT: &str = "text/markdown, text/html;q=0.9, text/plain;q=0.8, application/json;q=0.8, */*;q=0.1";

/// Fetches a URL over HTTP and returns its content: a web page as Markdown,
/// JSON and other text as it is. Long content comes in pieces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fetch {
    /// The URL; http or https.
    url: String,
    /// What a web page becomes: markdown, text without markup, or its html as
    /// it is. The default is markdown.
    #[serde(default)]
    format: Format,
    /// The most characters returned, at most 30000. The default is 9000.
    #[schemars(range(min = 1, max = 30000))]
    max_chars: Option<u32>,
    /// The first character returned, to go on where an earlier call ended.
    #[serde(default)]
    start: usize,
}

/// What a web page becomes.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Markdown,
    Text,
    Html,
}

impl Tool for Fetch {
    const NAME: &'static str = "fetch";
    const TITLE: &'static str = "Fetch a URL";
    const EFFECTS: Effects = Effects::NETWORK.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let asked = address(&self.url)?;
        let (url, response, redirects) = follow(asked)?;
        check_status(&url, &response)?;
        let read = read(&url, &response, self.format)?;
        let max = self.max_chars.unwrap_or(DEFAULT_CHARS).clamp(1, MOST_CHARS) as usize;
        let (piece, more) = paging::page(&read.text, self.start, max).map_err(Error::invalid)?;
        let content = assemble(&url, &self.url, &read, &piece, more.as_deref());
        Ok(Output::text(content).details(json!({
            "url": url.as_str(),
            "status": response.status,
            "content_type": response.header("content-type"),
            "bytes": response.body.len(),
            "characters": read.text.chars().count(),
            "truncated": response.truncated,
            "redirects": redirects,
        })))
    }
}

export_tools!(Fetch);

/// A URL that can be asked for: http or https, a host, no credentials. Its
/// fragment is dropped.
fn address(url: &str) -> Result<Url> {
    if url.len() > MAX_URL {
        return Err(Error::too_large(format!("the URL has {} bytes, more than {MAX_URL}", url.len())));
    }
    let mut parsed = Url::parse(url.trim())
        .map_err(|error| Error::invalid(format!("{url:.200?} is not a URL: {error}")))?;
    check(&parsed)?;
    parsed.set_fragment(None);
    Ok(parsed)
}

fn check(url: &Url) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::invalid(format!("`{}` is not fetched: only http and https are", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid("the URL carries a user or a password; secrets are not put into URLs"));
    }
    Ok(())
}

/// Requests a URL and follows redirects: where it ended, the response, and
/// the URLs on the way.
fn follow(mut url: Url) -> Result<(Url, Response, Vec<String>)> {
    let mut passed = Vec::new();
    loop {
        let request = Request::new("GET", url.as_str())
            .header("accept", ACCEPT)
            .header("accept-encoding", "identity")
            .header("user-agent", concat!("sortie-fetch/", env!("CARGO_PKG_VERSION")))
            .max_bytes(MAX_BYTES);
        let response =
            request.send().map_err(|error| error.context(format_args!("fetching {}", brief(&url))))?;
        let Some(location) = response.redirect() else { return Ok((url, response, passed)) };
        if passed.len() == MAX_REDIRECTS {
            return Err(Error::unavailable(format!(
                "more than {MAX_REDIRECTS} redirects, the last to {location:.200?}"
            )));
        }
        if location.len() > MAX_URL {
            return Err(Error::unavailable(format!(
                "{} redirects to a URL of {} bytes",
                brief(&url),
                location.len()
            )));
        }
        let next = url.join(location).map_err(|error| {
            Error::unavailable(format!(
                "{} redirects to {location:.200?}, which is not a URL: {error}",
                brief(&url)
            ))
        })?;
        check(&next).map_err(|error| error.context(format_args!("{} redirects elsewhere", brief(&url))))?;
        passed.push(url.to_string());
        url = next;
        url.set_fragment(None);
        control::check()?;
    }
}

/// The URL, shortened for a message.
fn brief(url: &Url) -> String {
    let url = url.as_str();
    if url.len() <= 200 { url.to_owned() } else { format!("{}…", &url[..url.floor_char_boundary(200)]) }
}

/// Refuses what the server did not answer with success, with the beginning of
/// what it said.
fn check_status(url: &Url, response: &Response) -> Result<()> {
    if (200..300).contains(&response.status) {
        return Ok(());
    }
    let excerpt = match read(url, response, Format::Text) {
        Ok(read) => read.text.chars().take(500).collect::<String>(),
        Err(_) => String::new(),
    };
    let message = format!("{} answered with status {}", brief(url), response.status);
    let message = if excerpt.trim().is_empty() { message } else { format!("{message}: {}", excerpt.trim()) };
    Err(match response.status {
        404 | 410 => Error::not_found(message),
        _ => Error::unavailable(message),
    })
}

/// A body made text.
struct Read {
    title: Option<String>,
    text: String,
    cut: bool,
}

fn read(url: &Url, response: &Response, format: Format) -> Result<Read> {
    let coding = response.header("content-encoding").unwrap_or("identity").trim();
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return Err(Error::unavailable(format!(
            "{} is compressed ({coding:.40}) although that was not asked for",
            brief(url)
        )));
    }
    let content_type = response.header("content-type");
    let kind = content::kind(content_type, &response.body);
    if kind == Kind::Binary {
        let size =
            response.header("content-length").map_or_else(|| response.body.len().to_string(), str::to_owned);
        return Err(Error::invalid(format!(
            "{} is not text: its type is {:.100}, its size {size:.20} bytes",
            brief(url),
            content_type.unwrap_or("not declared"),
        )));
    }
    let text = content::decode(content_type, kind, &response.body);
    let cut = response.truncated;
    let readable = match (kind, format) {
        (Kind::Html, Format::Markdown) => Readable::Markdown,
        (Kind::Html, Format::Text) => Readable::Text,
        _ => return Ok(Read { title: None, text, cut }),
    };
    let page = page::convert(&text, url, readable)
        .map_err(|why| Error::too_large(format!("{}: {why}; fetch it with format html", brief(url))))?;
    Ok(Read { title: page.title, text: page.content, cut })
}

/// What the model reads: where the content is from, the piece, and how to go on.
fn assemble(url: &Url, asked: &str, read: &Read, piece: &str, more: Option<&str>) -> String {
    let mut content = String::new();
    if let Some(title) = &read.title {
        content.push_str(&format!("Title: {title}\n"));
    }
    if url.as_str() != asked.trim() {
        content.push_str(&format!("URL: {url}\n"));
    }
    if !content.is_empty() {
        content.push('\n');
    }
    content.push_str(if piece.is_empty() { "(no text)" } else { piece });
    if let Some(more) = more {
        content.push_str(&format!("\n\n{more}"));
    }
    if read.cut {
        content.push_str(&format!("\n\n[only the first {MAX_BYTES} bytes of the document were read]"));
    }
    content
}

#[cfg(test)]
mod tests;
