//! The format that begins with `*** Begin Patch`.

use sortie_sdk::{Error, Result};

use super::model::{Change, Hunk, Line};

/// The first line.
pub(super) const FIRST: &str = "*** Begin Patch";
const LAST: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";

/// Reads a patch from the line after the first.
///
/// # Errors
/// Names the line at fault. A patch without its last line was cut off, and is
/// refused whole.
pub(super) fn parse(lines: &[&str]) -> Result<Vec<Change>> {
    let end = lines.iter().position(|line| line.trim() == LAST);
    let Some(end) = end else {
        return Err(Error::invalid(format!(
            "the patch does not end with `{LAST}`: it may have been cut off"
        )));
    };
    let mut rest = &lines[..end];
    let mut changes = Vec::new();
    while let Some((line, after)) = rest.split_first() {
        let body_len = after.iter().position(|line| is_header(line)).unwrap_or(after.len());
        let (body, next) = after.split_at(body_len);
        rest = next;
        changes.push(if let Some(path) = value(line, ADD)? {
            Change::Add { path, content: added(body)? }
        } else if let Some(path) = value(line, DELETE)? {
            no_body(&path, body)?;
            Change::Delete { path }
        } else if let Some(path) = value(line, UPDATE)? {
            update(path, body)?
        } else if line.trim().is_empty() {
            continue;
        } else {
            let message = format!("`{line:.100}` is none of `{ADD}`, `{DELETE}`, `{UPDATE}`, `{LAST}`");
            return Err(Error::invalid(message));
        });
    }
    Ok(changes)
}

fn is_header(line: &str) -> bool {
    [ADD, DELETE, UPDATE].iter().any(|header| line.starts_with(header))
}

/// The path behind a header, if the line is one.
fn value(line: &str, header: &str) -> Result<Option<String>> {
    match line.strip_prefix(header).map(str::trim) {
        None => Ok(None),
        Some("") => Err(Error::invalid(format!("`{header}` names no path"))),
        Some(path) => Ok(Some(path.trim_start_matches("./").to_owned())),
    }
}

fn added(body: &[&str]) -> Result<String> {
    let body = without_blank_end(body);
    let line = |line: &&str| match line.strip_prefix('+') {
        Some(text) => Ok(format!("{text}\n")),
        None if line.is_empty() => Ok("\n".to_owned()),
        None => Err(Error::invalid(format!("lines of a new file begin with `+`, unlike `{line:.100}`"))),
    };
    body.iter().map(line).collect()
}

fn no_body(path: &str, body: &[&str]) -> Result<()> {
    match body.iter().find(|line| !line.trim().is_empty()) {
        None => Ok(()),
        Some(line) => Err(Error::invalid(format!("{path} is deleted, so `{line:.100}` has no place"))),
    }
}

/// Blank lines before the next header are not part of the file.
fn without_blank_end<'a>(body: &'a [&'a str]) -> &'a [&'a str] {
    let end = body.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    &body[..end]
}

fn update(path: String, body: &[&str]) -> Result<Change> {
    let mut body = without_blank_end(body);
    let mut to = None;
    if let Some((first, rest)) = body.split_first()
        && let Some(path) = value(first, MOVE)?
    {
        to = Some(path);
        body = rest;
    }
    let hunks = hunks(&path, body)?;
    if hunks.is_empty() && to.is_none() {
        return Err(Error::invalid(format!("the update of {path} changes nothing")));
    }
    Ok(Change::Update { path, to, hunks })
}

fn hunks(path: &str, body: &[&str]) -> Result<Vec<Hunk>> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut hunk = Hunk::default();
    for line in body {
        if *line == "@@" || line.starts_with("@@ ") {
            if !hunk.lines.is_empty() {
                hunks.push(std::mem::take(&mut hunk));
            }
            hunk.anchors.extend(anchor(line));
        } else if line.trim_end() == END_OF_FILE {
            hunk.at_end = true;
        } else if let Some(line) = Line::parse(line) {
            hunk.lines.push(line);
        } else {
            let message = format!(
                "a line of the update of {path} begins with none of space, `-`, `+`, `@@`: `{line:.100}`"
            );
            return Err(Error::invalid(message));
        }
    }
    if !hunk.lines.is_empty() {
        hunks.push(hunk);
    }
    Ok(hunks)
}

/// The line that `@@` names. The numbers of a unified diff are not one.
fn anchor(line: &str) -> Option<String> {
    let text = line.trim_start_matches('@').trim();
    let text = text.strip_suffix("@@").unwrap_or(text).trim();
    let numbers = text.starts_with('-') && text.contains(" +");
    (!text.is_empty() && !numbers).then(|| text.to_owned())
}
