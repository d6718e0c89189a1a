//! The tree of a page without what is not content.

use std::rc::Rc;

use markup5ever_rcdom::{Node, NodeData};
use url::Url;

/// Deeper than this, elements are replaced by their text: what follows
/// recurses, and a guest's stack is 1 MiB.
const MAX_DEPTH: usize = 96;

/// A `main` or `article` with less text than this, in bytes, is not the content.
const MIN_MAIN: usize = 200;

/// Elements that are never content.
const DROPPED: [&str; 25] = [
    "script", "style", "noscript", "template", "iframe", "frame", "frameset", "object", "embed", "applet",
    "svg", "canvas", "audio", "video", "map", "nav", "form", "button", "input", "select", "textarea",
    "dialog", "menu", "link", "meta",
];

/// Roles of elements that are never content.
const DROPPED_ROLES: [&str; 6] = ["navigation", "banner", "contentinfo", "search", "dialog", "menu"];

/// Elements around the content of a whole site, dropped where no `main` says
/// what the content is.
const CHROME: [&str; 3] = ["header", "footer", "aside"];

/// The title of a page, as one line of at most 200 characters.
pub(super) fn title(document: &Rc<Node>) -> Option<String> {
    let title = find(document, |name, _| name == "title")?;
    let text = text_of(&title).split_whitespace().collect::<Vec<_>>().join(" ");
    Some(text.chars().take(200).collect()).filter(|title: &String| !title.is_empty())
}

/// The part of the tree that holds the content, cleaned: without scripts,
/// navigation and hidden elements, with whole links, and of bounded depth.
pub(super) fn readable(document: &Rc<Node>, base: &Url) -> Rc<Node> {
    let base = find(document, |name, _| name == "base")
        .and_then(|node| attribute(&node, "href"))
        .and_then(|href| base.join(&href).ok())
        .unwrap_or_else(|| base.clone());
    let main = find(document, |name, node| {
        name == "main" || attribute(node, "role").is_some_and(|role| role == "main")
    });
    let main = main.or_else(|| find(document, |name, _| name == "article"));
    let main = main.filter(|node| text_of(node).trim().len() >= MIN_MAIN);
    let root = main
        .clone()
        .or_else(|| find(document, |name, _| name == "body"))
        .unwrap_or_else(|| Rc::clone(document));
    clean(&root, main.is_some(), &base);
    root
}

/// Cleans the tree below a node, without recursion.
fn clean(root: &Rc<Node>, is_main: bool, base: &Url) {
    let mut stack = vec![(Rc::clone(root), 0_usize)];
    while let Some((node, depth)) = stack.pop() {
        node.children.borrow_mut().retain(|child| {
            let chrome = !is_main && depth < 3 && name(child).is_some_and(|name| CHROME.contains(&name));
            !chrome && !is_dropped(child)
        });
        complete_links(&node, base);
        if depth >= MAX_DEPTH {
            flatten(&node);
            continue;
        }
        stack.extend(node.children.borrow().iter().map(|child| (Rc::clone(child), depth + 1)));
    }
}

/// Replaces what is below a node by its text.
fn flatten(node: &Rc<Node>) {
    let text = text_of(node);
    let leaf = Node::new(NodeData::Text { contents: std::cell::RefCell::new(text.into()) });
    let below = std::mem::replace(&mut *node.children.borrow_mut(), vec![leaf]);
    drop(below);
}

fn is_dropped(node: &Rc<Node>) -> bool {
    let Some(name) = name(node) else {
        return matches!(node.data, NodeData::Comment { .. } | NodeData::ProcessingInstruction { .. });
    };
    DROPPED.contains(&name)
        || attribute(node, "hidden").is_some()
        || attribute(node, "aria-hidden").is_some_and(|value| value == "true")
        || attribute(node, "role").is_some_and(|role| DROPPED_ROLES.contains(&role.as_str()))
        || (name == "img" && attribute(node, "src").is_none_or(|src| src.starts_with("data:")))
}

/// Makes the addresses of links and images whole; those that are not for the
/// web are dropped.
fn complete_links(node: &Rc<Node>, base: &Url) {
    let NodeData::Element { attrs, .. } = &node.data else { return };
    attrs.borrow_mut().retain_mut(|attribute| {
        if !matches!(&*attribute.name.local, "href" | "src") {
            return true;
        }
        match base.join(attribute.value.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https" | "mailto") => {
                attribute.value = url.as_str().into();
                true
            }
            _ => false,
        }
    });
}

/// The first node in order of the document that satisfies a condition on its
/// name and itself.
fn find(root: &Rc<Node>, wanted: impl Fn(&str, &Rc<Node>) -> bool) -> Option<Rc<Node>> {
    let mut stack = vec![Rc::clone(root)];
    while let Some(node) = stack.pop() {
        if name(&node).is_some_and(|name| wanted(name, &node)) {
            return Some(node);
        }
        stack.extend(node.children.borrow().iter().rev().cloned());
    }
    None
}

/// All text below a node, scripts left out.
pub(super) fn text_of(root: &Rc<Node>) -> String {
    let mut text = String::new();
    let mut stack = vec![Rc::clone(root)];
    while let Some(node) = stack.pop() {
        if let NodeData::Text { contents } = &node.data {
            text.push_str(&contents.borrow());
        }
        if !is_dropped(&node) {
            stack.extend(node.children.borrow().iter().rev().cloned());
        }
    }
    text
}

/// Name of an element; none for other nodes.
pub(super) fn name(node: &Rc<Node>) -> Option<&str> {
    match &node.data {
        NodeData::Element { name, .. } => Some(&name.local),
        _ => None,
    }
}

fn attribute(node: &Rc<Node>, wanted: &str) -> Option<String> {
    let NodeData::Element { attrs, .. } = &node.data else { return None };
    let attrs = attrs.borrow();
    attrs
        .iter()
        .find(|attribute| &*attribute.name.local == wanted)
        .map(|attribute| attribute.value.to_string())
}
