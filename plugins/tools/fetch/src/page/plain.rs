//! A tree as text without markup.

use std::rc::Rc;

use markup5ever_rcdom::{Node, NodeData};

use super::prune::name;

/// Elements that begin and end a paragraph.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "ol",
    "p",
    "section",
    "table",
    "ul",
];

enum Step {
    Open(Rc<Node>, bool),
    /// Text between elements, or behind one.
    Write(&'static str),
}

/// The text, with paragraphs, list items and table rows on lines of their own.
pub(super) fn text(root: &Rc<Node>) -> String {
    let mut out = String::new();
    let mut stack = vec![Step::Open(Rc::clone(root), false)];
    while let Some(step) = stack.pop() {
        let (node, preformatted) = match step {
            Step::Write(text) => {
                write(&mut out, text);
                continue;
            }
            Step::Open(node, preformatted) => (node, preformatted),
        };
        if let NodeData::Text { contents } = &node.data {
            let contents = contents.borrow();
            if preformatted {
                out.push_str(&contents)
            } else {
                flow(&mut out, &contents)
            }
            continue;
        }
        let (before, after) = around(name(&node).unwrap_or_default());
        write(&mut out, before);
        stack.push(Step::Write(after));
        let preformatted = preformatted || name(&node) == Some("pre");
        let children = node.children.borrow();
        stack.extend(children.iter().rev().map(|child| Step::Open(Rc::clone(child), preformatted)));
    }
    out
}

/// What is written before and after an element.
fn around(name: &str) -> (&'static str, &'static str) {
    match name {
        "br" => ("\n", ""),
        "li" => ("\n- ", ""),
        "tr" => ("\n", ""),
        "td" | "th" => ("", "\t"),
        "pre" => ("\n\n", "\n\n"),
        name if BLOCKS.contains(&name) => ("\n\n", "\n\n"),
        _ => ("", ""),
    }
}

fn write(out: &mut String, text: &str) {
    if text.starts_with('\n') {
        out.truncate(out.trim_end_matches(' ').len());
    }
    out.push_str(text);
}

/// Adds running text: white space of any length is one space.
fn flow(out: &mut String, text: &str) {
    for c in text.chars() {
        if !c.is_ascii_whitespace() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with([' ', '\n', '\t']) {
            out.push(' ');
        }
    }
}
