//! The `fetch` tool: what a URL leads to, as Markdown, text or HTML.
//!
//! `tool` sends requests and follows redirects, each of which is an action
//! of its own that the host decides on; `content` tells text from what is
//! none and decodes it; `page` makes HTML readable; `paging` cuts the
//! result. Which addresses may be reached is the host's to say, not ours.

mod content;
mod page;
mod paging;
mod tool;
