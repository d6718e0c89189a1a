//! How deep the tags of a page nest, counted without building a tree.
//!
//! The parser looks through all open elements at most tags, so a page that
//! only opens elements costs the square of its length.

use std::collections::HashMap;

/// Elements without content, and those that the next one of their kind ends:
/// pages leave them open by the thousand without nesting.
const UNCLOSED: [&str; 36] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "caption", "colgroup",
    "option", "optgroup", "rt", "rp", "html", "head", "body", "frame", "keygen", "path",
];

/// The deepest nesting, and the number of tags.
pub(super) fn measure(html: &str) -> (usize, usize) {
    // by name, because an end tag closes an element of its own name and no other
    let mut open = HashMap::<String, usize>::new();
    let (mut depth, mut deepest, mut tags) = (0_usize, 0_usize, 0_usize);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        tags += 1;
        let (closes, body) = match rest.strip_prefix('/') {
            Some(body) => (true, body),
            None => (false, rest),
        };
        let end = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len()).min(16);
        let name = body[..end].to_ascii_lowercase();
        if name.is_empty() || UNCLOSED.contains(&name.as_str()) {
            continue;
        }
        if !closes {
            depth += 1;
            deepest = deepest.max(depth);
            *open.entry(name).or_default() += 1;
        } else if let Some(count) = open.get_mut(&name).filter(|count| **count > 0) {
            depth -= 1;
            *count -= 1;
        }
    }
    (deepest, tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_and_what_is_never_closed_is_not() {
        assert_eq!(measure("<div><p>a<p>b<ul><li>c<li>d</ul></div><div>é</div>"), (2, 10));
        assert_eq!(measure(&"<p>x<br><img src=a>".repeat(1000)).0, 0);
        assert_eq!(measure(&"<DIV a=1>".repeat(1000)), (1000, 1000));
        assert_eq!(measure("< <é </ </div></div><b"), (1, 6));
    }

    #[test]
    fn an_end_tag_without_an_element_hides_no_depth() {
        assert_eq!(measure(&"<div></x>".repeat(1000)).0, 1000);
        assert_eq!(measure(&"<p><i></p>".repeat(1000)).0, 1000);
    }
}
