//! Hunks, applied to a text.

use sortie_sdk::{Error, Result};

use super::lines::{Likeness, TextLine, join, split, usual_end};
use super::model::{Hunk, Line};

/// A text with its hunks applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The new text.
    pub(super) text: String,
    /// Lines that came.
    pub(super) added: usize,
    /// Lines that went.
    pub(super) removed: usize,
    /// What was overlooked to find the places.
    pub(super) notes: Vec<String>,
}

/// Where a hunk belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    likeness: Likeness,
}

/// Applies hunks, from the top of the text to its bottom.
///
/// # Errors
/// Names the hunk whose place was not found, and how the file differs there.
pub(super) fn apply(path: &str, text: &str, hunks: &[Hunk]) -> Result<Applied> {
    let mut file = split(text);
    let end = usual_end(&file);
    let mut applied = Applied { text: String::new(), added: 0, removed: 0, notes: Vec::new() };
    let mut cursor = 0;
    let mut shift = 0_isize;
    for (index, hunk) in hunks.iter().enumerate() {
        let name = format!("{path}, hunk {} of {}", index + 1, hunks.len());
        let place =
            find(&file, hunk, cursor, shift).map_err(|why| Error::conflict(format!("{name}: {why}")))?;
        if let Some(overlooked) = place.likeness.overlooked() {
            applied.notes.push(format!("{name}: differences in {overlooked} were overlooked"));
        }
        let old_length = hunk.lines.iter().filter(|line| line.old().is_some()).count();
        let (new, added, removed) = replacement(&file[place.at..place.at + old_length], hunk, end);
        cursor = place.at + new.len();
        if let Some(start) = hunk.start {
            let said = start.saturating_sub(usize::from(old_length > 0)) as isize;
            shift = place.at as isize - said + added as isize - removed as isize;
        }
        file.splice(place.at..place.at + old_length, new);
        applied.added += added;
        applied.removed += removed;
    }
    applied.text = join(&file, end);
    Ok(applied)
}

/// The lines that take the place of a hunk's old ones. Lines that stay are the
/// file's own, whatever the patch overlooked in them.
fn replacement(old: &[TextLine], hunk: &Hunk, end: &'static str) -> (Vec<TextLine>, usize, usize) {
    let (mut added, mut removed) = (0, 0);
    let mut new = Vec::new();
    let mut old = old.iter();
    for line in &hunk.lines {
        match line {
            Line::Keep(_) => new.extend(old.next().cloned()),
            Line::Remove(_) => {
                old.next();
                removed += 1;
            }
            Line::Add(text) => {
                // Whatever way the patch came, the file's own line ends are kept.
                let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
                new.push(TextLine { text, end });
                added += 1;
            }
        }
    }
    if hunk.without_line_end
        && let Some(last) = new.last_mut()
    {
        last.end = "";
    }
    (new, added, removed)
}

/// Where a hunk belongs, not above `cursor`. `shift` is by how much the
/// places of the hunks before it were off what they said.
fn find(file: &[TextLine], hunk: &Hunk, cursor: usize, shift: isize) -> Result<Place, String> {
    let old: Vec<&str> = hunk.lines.iter().filter_map(Line::old).collect();
    let cursor = below_anchors(file, hunk, cursor)?;
    if old.is_empty() {
        return Ok(Place { at: insertion(file, hunk, cursor, shift), likeness: Likeness::Exact });
    }
    let last = file.len().checked_sub(old.len());
    let fits = |at: usize, likeness: Likeness| {
        old.iter().zip(&file[at..]).all(|(old, line)| likeness.same(&line.text, old))
    };
    for likeness in Likeness::ALL {
        let Some(last) = last.filter(|last| *last >= cursor) else { break };
        if hunk.at_end && fits(last, likeness) {
            return Ok(Place { at: last, likeness });
        }
        let candidates = (cursor..=last).filter(|at| fits(*at, likeness));
        let found = match expected(hunk, shift) {
            Some(expected) => candidates.min_by_key(|at| at.abs_diff(expected)),
            None => { candidates }.next(),
        };
        if let Some(at) = found {
            return Ok(Place { at, likeness });
        }
    }
    Err(explain(file, &old, cursor))
}

/// The line, counted from 0, at which a unified diff says that a hunk begins.
fn expected(hunk: &Hunk, shift: isize) -> Option<usize> {
    hunk.start.map(|start| (start as isize - 1 + shift).max(0) as usize)
}

/// Where lines go that come without any around them.
fn insertion(file: &[TextLine], hunk: &Hunk, cursor: usize, shift: isize) -> usize {
    match hunk.start {
        // `@@ -3,0 +4 @@`: behind line 3.
        Some(start) => ((start as isize + shift).max(0) as usize).clamp(cursor, file.len()),
        None if hunk.anchors.is_empty() => file.len(),
        None => cursor,
    }
}

/// The line below a hunk's anchors.
fn below_anchors(file: &[TextLine], hunk: &Hunk, mut cursor: usize) -> Result<usize, String> {
    for anchor in &hunk.anchors {
        let below = Likeness::ALL
            .iter()
            .find_map(|likeness| (cursor..file.len()).find(|at| likeness.same(&file[*at].text, anchor)));
        // Models name a part of the line as well.
        let below =
            below.or_else(|| (cursor..file.len()).find(|at| file[*at].text.contains(anchor.as_str())));
        match below {
            Some(at) => cursor = at + 1,
            None => return Err(format!("there is no line `{anchor:.200}` below line {cursor}")),
        }
    }
    Ok(cursor)
}

/// Why a hunk has no place: where the file comes nearest, and how it differs there.
fn explain(file: &[TextLine], old: &[&str], cursor: usize) -> String {
    let same = Likeness::Punctuation;
    let prefix =
        |at: usize| old.iter().zip(&file[at..]).take_while(|(old, line)| same.same(&line.text, old)).count();
    let nearest =
        (0..file.len()).map(|at| (prefix(at), at)).max_by_key(|(length, at)| (*length, usize::MAX - at));
    match nearest {
        Some((length, at)) if length == old.len() => {
            format!(
                "its lines are at line {}, above the hunk before it (line {cursor}): give hunks in order",
                at + 1
            )
        }
        Some((length, at)) if length > 0 => match file.get(at + length) {
            Some(line) => format!(
                "not found. Nearest is line {}, but line {} is `{:.200}` where the patch has `{:.200}`",
                at + 1,
                at + length + 1,
                line.text,
                old[length]
            ),
            None => format!(
                "not found. Line {} is like it, but the file ends before `{:.200}`",
                at + 1,
                old[length]
            ),
        },
        _ => format!("not found: no line is like its first, `{:.200}`; read the file again", old[0]),
    }
}
