//! The host's interfaces, as the pretended host serves them: the same
//! functions as in the generated bindings, which only a component can call.

/// `sortie:host/config`.
pub mod config {
    /// The settings.
    pub fn get() -> String {
        super::super::current().settings.to_string()
    }
}

/// `sortie:host/control`.
pub mod control {
    /// Whether the task was cancelled.
    pub fn cancelled() -> bool {
        super::super::current().cancelled
    }

    /// Milliseconds left.
    pub fn remaining_ms() -> u64 {
        600_000
    }
}

/// `sortie:host/telemetry`.
pub mod telemetry {
    use crate::telemetry::Level;

    /// Keeps a line.
    pub fn log(level: Level, message: &str) {
        super::super::current().log.borrow_mut().push((level, message.to_owned()));
    }

    /// Keeps a message.
    pub fn progress(message: &str) {
        super::super::current().progress.borrow_mut().push(message.to_owned());
    }
}

/// `sortie:host/exec`.
pub mod exec {
    use std::cell::RefCell;

    use super::super::reply::ended;
    use super::super::{Reply, current, fails};
    use crate::Error;
    use crate::bindings::host::sortie::host::exec::{Background, Chunk, Command, Exit};
    use crate::bindings::host::sortie::host::types;

    type Result<T> = std::result::Result<T, types::Error>;

    /// Asks the test.
    pub fn spawn(command: &Command) -> Result<Process> {
        let state = current();
        let Some(answer) = &state.answer else {
            return fails(Error::unavailable("this test answers no commands"));
        };
        let reply = answer(command);
        if let Some(error) = reply.error {
            return fails(error);
        }
        let held = Held {
            reply,
            line: command.argv.join(" "),
            input: command.stdin || command.tty,
            background: command.background,
            id: None,
        };
        Ok(Process(RefCell::new(Some(held))))
    }

    /// Takes up a command that was detached on this host.
    pub fn attach(id: &str) -> Result<Process> {
        let state = current();
        let mut detached = state.detached.borrow_mut();
        let Some(found) = detached.iter_mut().find(|detached| detached.id == id) else {
            return fails(Error::not_found(format!("no command `{id}`")));
        };
        match std::mem::replace(&mut found.place, Place::Held) {
            Place::Parked(mut held) => {
                held.reply.read = false;
                Ok(Process(RefCell::new(Some(held))))
            }
            Place::Held => fails(Error::conflict(format!("`{id}` is held"))),
            Place::Gone(exit) => {
                found.place = Place::Gone(exit);
                fails(Error::not_found(format!("no command `{id}`")))
            }
        }
    }

    /// All that were detached on this host.
    pub fn list_background() -> Result<Vec<Background>> {
        let state = current();
        let detached = state.detached.borrow();
        let described = detached.iter().map(|detached| Background {
            id: detached.id.clone(),
            command: detached.line.clone(),
            age_ms: 1000,
            exit: match &detached.place {
                Place::Parked(held) => held.reply.end.as_ref().map(|end| end.exit),
                Place::Held => None,
                Place::Gone(exit) => Some(*exit),
            },
        });
        Ok(described.collect())
    }

    /// A command that was detached.
    #[derive(Debug)]
    pub(in super::super) struct Detached {
        id: String,
        line: String,
        place: Place,
    }

    #[derive(Debug)]
    enum Place {
        Parked(Held),
        Held,
        Gone(Exit),
    }

    #[derive(Debug)]
    struct Held {
        reply: Reply,
        line: String,
        input: bool,
        background: bool,
        /// If it was detached before.
        id: Option<String>,
    }

    /// A pretended command; none once it was detached.
    #[derive(Debug)]
    pub struct Process(RefCell<Option<Held>>);

    impl Drop for Process {
        fn drop(&mut self) {
            if let Some(Held { reply, id: Some(id), .. }) = self.0.get_mut() {
                let exit = reply.end.as_ref().map_or(Exit::Signal(9), |end| end.exit);
                place(id, Place::Gone(exit));
            }
        }
    }

    fn place(id: &str, place: Place) {
        let state = current();
        let mut detached = state.detached.borrow_mut();
        if let Some(found) = detached.iter_mut().find(|detached| detached.id == id) {
            found.place = place;
        }
    }

    #[expect(missing_docs, reason = "as in the bindings")]
    impl Process {
        fn with<T>(&self, what: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
            match self.0.borrow_mut().as_mut() {
                Some(held) => what(held),
                None => fails(Error::invalid("this command was detached; its handle is spent")),
            }
        }

        pub fn next(&self, _wait_ms: u32) -> Result<Option<Chunk>> {
            self.with(|Held { reply, .. }| {
                if let Some(chunk) = reply.chunks.pop_front() {
                    return Ok(chunk);
                }
                let end = reply.end.clone().filter(|_| !std::mem::replace(&mut reply.read, true));
                Ok(end.map(Chunk::Exit))
            })
        }

        pub fn write(&self, data: &[u8]) -> Result<()> {
            self.with(|held| {
                if !held.input {
                    return fails(Error::invalid("standard input is closed"));
                }
                current().input.borrow_mut().extend(data);
                Ok(())
            })
        }

        pub fn close_stdin(&self) -> Result<()> {
            self.with(|held| match std::mem::replace(&mut held.input, false) {
                true => Ok(()),
                false => fails(Error::invalid("standard input is closed")),
            })
        }

        pub fn terminate(&self) -> Result<()> {
            self.with(|Held { reply, .. }| {
                if !reply.stubborn && reply.end.is_none() {
                    reply.end = Some(ended(Exit::Signal(15)));
                }
                Ok(())
            })
        }

        pub fn kill(&self) -> Result<()> {
            self.with(|Held { reply, .. }| {
                // one that has said all it had to say may have ended by itself
                if reply.end.is_none() || !reply.chunks.is_empty() {
                    reply.end = Some(ended(Exit::Signal(9)));
                }
                Ok(())
            })
        }

        pub fn detach(&self) -> Result<String> {
            let Some(mut held) = self.0.borrow_mut().take() else {
                return fails(Error::invalid("this command was detached; its handle is spent"));
            };
            if !held.background {
                return fails(Error::invalid("the command was not started to run in the background"));
            }
            if let Some(id) = held.id.clone() {
                place(&id, Place::Parked(held));
                return Ok(id);
            }
            let state = current();
            let mut detached = state.detached.borrow_mut();
            let id = format!("p{}", detached.len() + 1);
            held.id = Some(id.clone());
            detached.push(Detached { id: id.clone(), line: held.line.clone(), place: Place::Parked(held) });
            Ok(id)
        }
    }
}

/// `sortie:host/files`.
pub mod files {
    use globset::{GlobBuilder, GlobMatcher};
    use regex::RegexBuilder;

    use super::super::{current, fails, tree::Tree};
    use crate::Error;
    use crate::bindings::host::sortie::host::files::{Content, Found, IfMatch, Listing, Match, Query};
    use crate::bindings::host::sortie::host::types;

    type Result<T> = std::result::Result<T, types::Error>;

    /// What the host says of a path before it looks at the file.
    fn check(operation: &str, path: &str) -> Result<()> {
        let bad = path.is_empty()
            || path.starts_with('/')
            || path.contains('\0')
            || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if bad {
            return fails(Error::invalid(format!("{path:?} is not a path in the work tree")));
        }
        match current().refuse.as_ref().and_then(|refuse| refuse(operation, path)) {
            Some(error) => fails(error),
            None => Ok(()),
        }
    }

    /// A piece of a file.
    pub fn read(path: &str, offset: u64, max: u32) -> Result<Content> {
        check("read", path)?;
        let state = current();
        let files = state.files.borrow();
        let Some(data) = files.get(path) else {
            return fails(match files.is_directory(path) {
                true => Error::invalid(format!("{path} is a directory")),
                false => Error::not_found(format!("{path} does not exist")),
            });
        };
        let piece = data.iter().skip(offset as usize).take(max as usize).copied().collect();
        Ok(Content { data: piece, size: data.len() as u64, etag: Tree::etag(data) })
    }

    /// Replaces a file.
    pub fn write(path: &str, data: &[u8], if_match: &IfMatch) -> Result<String> {
        check("write", path)?;
        let state = current();
        let mut files = state.files.borrow_mut();
        let holds = match (if_match, files.get(path)) {
            (IfMatch::Any, _) | (IfMatch::Absent, None) => true,
            (IfMatch::Etag(etag), Some(now)) => *etag == Tree::etag(now),
            (IfMatch::Absent, Some(_)) | (IfMatch::Etag(_), None) => false,
        };
        if !holds {
            return fails(Error::conflict(format!("{path} is not in the state expected")));
        }
        if files.is_directory(path) {
            return fails(Error::invalid(format!("{path} is a directory")));
        }
        files.put(path, data);
        Ok(Tree::etag(data))
    }

    /// Replaces text in a file.
    pub fn edit(path: &str, old: &str, new: &str, count: u32) -> Result<String> {
        check("edit", path)?;
        let state = current();
        let mut files = state.files.borrow_mut();
        let Some(text) = files.get(path).map(|data| String::from_utf8_lossy(data).into_owned()) else {
            return fails(Error::not_found(format!("{path} does not exist")));
        };
        let found = text.matches(old).count();
        if old.is_empty() || found != count as usize {
            return fails(Error::conflict(format!("`old` occurs {found} times in {path}, not {count}")));
        }
        let text = text.replace(old, new);
        files.put(path, text.as_bytes());
        Ok(Tree::etag(text.as_bytes()))
    }

    /// Removes a file.
    pub fn remove(path: &str) -> Result<()> {
        check("remove", path)?;
        match current().files.borrow_mut().remove(path) {
            true => Ok(()),
            false => fails(Error::not_found(format!("{path} does not exist"))),
        }
    }

    fn matcher(pattern: &str) -> Result<GlobMatcher> {
        match GlobBuilder::new(pattern).literal_separator(true).build() {
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => fails(Error::invalid(error.to_string())),
        }
    }

    /// Paths that match.
    pub fn glob(pattern: &str, max: u32) -> Result<Listing> {
        let matcher = matcher(pattern)?;
        let mut paths = current().files.borrow().paths();
        paths.retain(|path| matcher.is_match(path));
        let truncated = paths.len() > max as usize;
        paths.truncate(max as usize);
        Ok(Listing { paths, truncated })
    }

    /// Lines that match.
    pub fn search(query: &Query) -> Result<Found> {
        let listing = glob(query.glob.as_deref().unwrap_or("**"), 10_000)?;
        let regex = match RegexBuilder::new(&query.pattern).case_insensitive(query.ignore_case).build() {
            Ok(regex) => regex,
            Err(error) => return fails(Error::invalid(error.to_string())),
        };
        let state = current();
        let files = state.files.borrow();
        let (mut matches, mut too_large) = (Vec::new(), 0);
        for path in listing.paths {
            let data = files.get(&path).unwrap_or_default();
            if data.len() > crate::files::MAX_BYTES as usize {
                too_large += 1;
                continue;
            }
            let text = String::from_utf8_lossy(data).into_owned();
            let lines = text.lines().zip(1..).filter(|(line, _)| regex.is_match(line));
            let found = lines.map(|(text, line)| Match { path: path.clone(), line, text: text.into() });
            matches.extend(found);
        }
        let truncated = matches.len() > query.max_matches as usize;
        matches.truncate(query.max_matches as usize);
        Ok(Found { matches, truncated, too_large })
    }
}

/// `sortie:host/git`.
pub mod git {
    use super::super::{current, fails};
    use crate::Error;
    use crate::bindings::host::sortie::host::git::{Against, CommitInfo, State};
    use crate::bindings::host::sortie::host::types;

    type Result<T> = std::result::Result<T, types::Error>;

    /// The state that the test set.
    pub fn status() -> Result<State> {
        Ok(current().git.clone())
    }

    /// The diff that the test set.
    pub fn diff(_against: Against, _paths: &[String], max: u32) -> Result<String> {
        Ok(current().diff.chars().take(max as usize).collect())
    }

    /// Commits made, newest first.
    pub fn log(max: u32) -> Result<Vec<CommitInfo>> {
        Ok(current().commits.borrow().iter().rev().take(max as usize).cloned().collect())
    }

    /// A commit made.
    pub fn show(rev: &str, _max: u32) -> Result<String> {
        let state = current();
        let commits = state.commits.borrow();
        match commits.iter().find(|commit| commit.id == rev) {
            Some(commit) => Ok(commit.message.clone()),
            None => fails(Error::not_found(format!("no revision `{rev}`"))),
        }
    }

    /// Makes a commit.
    pub fn commit(message: &str) -> Result<String> {
        let state = current();
        if state.git.changes.is_empty() {
            return fails(Error::invalid("nothing differs"));
        }
        let mut commits = state.commits.borrow_mut();
        let id = format!("{:040x}", commits.len() + 1);
        let author = "Test <test@localhost>".into();
        commits.push(CommitInfo { id: id.clone(), author, time: 0, message: message.into() });
        Ok(id)
    }
}

/// `wasi:http`, at the height of whole exchanges.
#[cfg(feature = "http")]
pub(crate) fn http(
    request: &crate::http::Request,
    _address: &crate::http::Address,
) -> crate::Result<crate::http::Response> {
    let state = super::current();
    let Some(serve) = &state.serve else {
        return Err(crate::Error::unavailable("this test answers no requests"));
    };
    let mut response = serve(request)?;
    response.truncated = response.body.len() > request.max_bytes;
    response.body.truncate(request.max_bytes);
    Ok(response)
}
