//! HTML made readable: what is not content is taken out of the tree, links
//! are made whole, and the rest becomes Markdown or plain text.
//!
//! The tree comes from html5ever, whose parser does not recurse. Everything
//! after it may, so the tree is made shallow first.

mod nesting;
mod plain;
mod prune;

use htmd::HtmlToMarkdown;
use htmd::options::{BulletListMarker, Options};
use url::Url;

/// The most tags of a page that is converted; each costs memory many times its size.
const MAX_TAGS: usize = 200_000;
/// The deepest nesting of a page that is converted.
const MAX_NESTING: usize = 512;

/// A page made readable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page {
    /// Its title, if it has one; one line.
    pub(crate) title: Option<String>,
    /// Its content.
    pub(crate) content: String,
}

/// What a page becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// Markdown.
    Markdown,
    /// Text without markup.
    Text,
}

/// Makes a page readable. `base` is where it came from.
///
/// # Errors
/// With a reason, if it is too large or too deep to convert.
pub(crate) fn convert(html: &str, base: &Url, into: Into) -> Result<Page, String> {
    let (depth, tags) = nesting::measure(html);
    if tags > MAX_TAGS {
        return Err(format!("the page has {tags} tags, more than the {MAX_TAGS} that are converted"));
    }
    if depth > MAX_NESTING {
        return Err(format!("the page nests {depth} deep, deeper than the {MAX_NESTING} that are converted"));
    }
    let options = Options {
        bullet_list_marker: BulletListMarker::Dash,
        ul_bullet_spacing: 1,
        ol_number_spacing: 1,
        ..Options::default()
    };
    let converter = HtmlToMarkdown::builder().options(options).build();
    let document = converter.html_to_tree(html).map_err(|error| error.to_string())?;
    let title = prune::title(&document);
    let root = prune::readable(&document, base);
    let content = match into {
        Into::Markdown => converter.tree_to_markdown(&root),
        Into::Text => plain::text(&root),
    };
    Ok(Page { title, content: squeeze(&content) })
}

/// The text with at most one empty line in a row and none at its ends.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.trim().lines() {
        if line.trim().is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests;
