//! All changes of a patch, worked out before the first is made.

use std::collections::BTreeMap;

use sortie_sdk::files::{Etag, IfMatch};
use sortie_sdk::prelude::*;

use super::apply::apply;
use super::model::Change;
use crate::nearest::suggest;

/// The most files that one patch changes.
const MAX_FILES: usize = 1000;

/// A file as it was and as it shall be; none where it is not.
#[derive(Debug)]
struct File {
    was: Option<(String, Etag)>,
    shall_be: Option<String>,
}

/// What a patch comes to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    files: BTreeMap<String, File>,
    report: Vec<String>,
    notes: Vec<String>,
    added: usize,
    removed: usize,
}

/// A write that was made, for taking it back.
struct Done<'a> {
    path: &'a str,
    was: Option<&'a str>,
    now: Etag,
}

impl Plan {
    /// Works out what a patch comes to. Files are read, none is written.
    ///
    /// # Errors
    /// If any change does not fit.
    pub(super) fn of(changes: &[Change]) -> Result<Self> {
        let mut plan = Self::default();
        for change in changes {
            match change {
                Change::Add { path, content } => plan.add(path, content)?,
                Change::Delete { path } => plan.delete(path)?,
                Change::Update { path, to, hunks } => {
                    let applied = apply(path, &plan.existing(path)?, hunks)?;
                    plan.added += applied.added;
                    plan.removed += applied.removed;
                    let counts = format!("+{} -{}", applied.added, applied.removed);
                    plan.notes.extend(applied.notes);
                    match to {
                        None => plan.report.push(format!("changed {path} ({counts})")),
                        Some(to) => plan.report.push(format!("moved {path} to {to} ({counts})")),
                    }
                    plan.update(path, to.as_deref(), applied.text)?;
                }
            }
            if plan.files.len() > MAX_FILES {
                return Err(Error::too_large(format!("the patch changes more than {MAX_FILES} files")));
            }
        }
        Ok(plan)
    }

    /// The file, read at its first mention.
    fn file(&mut self, path: &str) -> Result<&mut File> {
        if !self.files.contains_key(path) {
            let was = match files::read_text_with_etag(path) {
                Ok(was) => Some(was),
                Err(error) if error.code == ErrorCode::NotFound => None,
                Err(error) => return Err(error),
            };
            let shall_be = was.as_ref().map(|(text, _)| text.clone());
            self.files.insert(path.to_owned(), File { was, shall_be });
        }
        Ok(self.files.get_mut(path).expect("it was inserted above"))
    }

    fn existing(&mut self, path: &str) -> Result<String> {
        match &self.file(path)?.shall_be {
            Some(text) => Ok(text.clone()),
            None => Err(suggest(Error::not_found(format!("{path} does not exist")), path)),
        }
    }

    fn absent(&mut self, path: &str) -> Result<&mut File> {
        let file = self.file(path)?;
        match file.shall_be {
            None => Ok(file),
            Some(_) => Err(Error::conflict(format!("{path} exists already: update it, or delete it first"))),
        }
    }

    fn add(&mut self, path: &str, content: &str) -> Result<()> {
        self.absent(path)?.shall_be = Some(content.to_owned());
        let lines = content.lines().count();
        self.added += lines;
        self.report.push(format!("added {path} (+{lines})"));
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<()> {
        self.removed += self.existing(path)?.lines().count();
        self.file(path)?.shall_be = None;
        self.report.push(format!("deleted {path}"));
        Ok(())
    }

    fn update(&mut self, path: &str, to: Option<&str>, text: String) -> Result<()> {
        match to.filter(|to| *to != path) {
            None => self.file(path)?.shall_be = Some(text),
            Some(to) => {
                self.absent(to)?.shall_be = Some(text);
                self.file(path)?.shall_be = None;
            }
        }
        Ok(())
    }

    /// Makes the changes: writes first, removals last. If one fails, those
    /// before it are taken back.
    ///
    /// # Errors
    /// That of the change that failed.
    pub(super) fn carry_out(&self) -> Result<Output> {
        let mut done = Vec::new();
        for step in [Self::write, Self::remove] {
            for (path, file) in &self.files {
                if let Err(error) = step(path, file, &mut done) {
                    return Err(take_back(&done, error));
                }
            }
        }
        let text = [self.report.as_slice(), self.notes.as_slice()].concat().join("\n");
        let paths: Vec<_> = self.files.keys().collect();
        Ok(Output::text(text).details(json!({"paths": paths, "added": self.added, "removed": self.removed})))
    }

    fn write<'a>(path: &'a str, file: &'a File, done: &mut Vec<Done<'a>>) -> Result<()> {
        let was = file.was.as_ref().map(|(text, _)| text.as_str());
        let Some(text) = file.shall_be.as_deref().filter(|text| was != Some(text)) else {
            return Ok(());
        };
        let expected = match &file.was {
            Some((_, etag)) => IfMatch::Etag(etag.clone()),
            None => IfMatch::Absent,
        };
        let now = files::write(path, text, expected)?;
        done.push(Done { path, was, now });
        Ok(())
    }

    fn remove<'a>(path: &'a str, file: &'a File, done: &mut Vec<Done<'a>>) -> Result<()> {
        if let (Some((was, _)), None) = (&file.was, &file.shall_be) {
            files::remove(path)?;
            done.push(Done { path, was: Some(was), now: String::new() });
        }
        Ok(())
    }
}

/// Takes changes back, the last first, unless somebody else has changed the
/// file since.
fn take_back(done: &[Done<'_>], error: Error) -> Error {
    let undo = |done: &Done<'_>| match done.was {
        Some(was) if done.now.is_empty() => files::write(done.path, was, IfMatch::Absent).map(drop),
        Some(was) => files::write(done.path, was, IfMatch::Etag(done.now.clone())).map(drop),
        None => files::remove(done.path),
    };
    let stayed: Vec<_> = done.iter().rev().filter(|done| undo(done).is_err()).map(|done| done.path).collect();
    let end = if stayed.is_empty() {
        "nothing was changed".to_owned()
    } else {
        format!("these could not be taken back and are changed: {}", stayed.join(", "))
    };
    Error { message: format!("{}; {end}", error.message), ..error }
}
