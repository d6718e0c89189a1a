//! A pretended host, for tests of plugins on any machine.
//!
//! The files of its work tree are in memory, and commands are answered by the
//! test. It does not imitate grants or policies: refusals are answers that
//! the test gives.
//!
//! ```
//! # use sortie_sdk::prelude::*;
//! use sortie_sdk::testing::{Host, Reply};
//!
//! let host = Host::new()
//!     .file("src/lib.rs", "pub fn one() {}\n")
//!     .settings(json!({"level": 3}))
//!     .command(|command| match command.argv[0].as_str() {
//!         "date" => Reply::new().stdout("today\n"),
//!         _ => Reply::fails(Error::not_found("no such program")),
//!     });
//! assert_eq!(host.enter(|| files::read_text("src/lib.rs")).expect("is there"), "pub fn one() {}\n");
//! ```

#[doc(hidden)]
pub mod backend;
mod reply;
mod tree;

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::bindings::host::sortie::host::{exec, git, types};
use crate::bindings::tool::exports::sortie::tool::tool as wit;
use crate::event::Event;
use crate::policy::Policy;
use crate::telemetry::Level;
use crate::tool::{Output, Tool};
use crate::{Error, Result, Verdict};

pub use reply::Reply;

/// A command, as the tool asked for it.
pub use exec::Command;

type Answer = dyn Fn(&Command) -> Reply;
#[cfg(feature = "http")]
type Serve = dyn Fn(&crate::http::Request) -> Result<crate::http::Response>;
type Refusal = dyn Fn(&str, &str) -> Option<Error>;

/// What the pretended host holds.
struct State {
    files: RefCell<tree::Tree>,
    settings: Value,
    cancelled: bool,
    answer: Option<Box<Answer>>,
    refuse: Option<Box<Refusal>>,
    #[cfg(feature = "http")]
    serve: Option<Box<Serve>>,
    git: git::State,
    diff: String,
    commits: RefCell<Vec<git::CommitInfo>>,
    detached: RefCell<Vec<backend::exec::Detached>>,
    input: RefCell<Vec<u8>>,
    log: RefCell<Vec<(Level, String)>>,
    progress: RefCell<Vec<String>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<State>>> = const { RefCell::new(None) };
}

/// The host that this thread is inside of.
fn current() -> Rc<State> {
    CURRENT.with_borrow(Clone::clone).expect("host calls in a test need `testing::Host::enter`")
}

/// A pretended host.
pub struct Host(Rc<State>);

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("paths", &self.paths()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host with an empty work tree, no settings, and no commands.
    pub fn new() -> Self {
        Self(Rc::new(State {
            files: RefCell::default(),
            settings: json!({}),
            cancelled: false,
            answer: None,
            refuse: None,
            #[cfg(feature = "http")]
            serve: None,
            git: git::State {
                branch: "sortie/test-000000".into(),
                base: "0".repeat(40),
                head: "0".repeat(40),
                changes: Vec::new(),
            },
            diff: String::new(),
            commits: RefCell::default(),
            detached: RefCell::default(),
            input: RefCell::default(),
            log: RefCell::default(),
            progress: RefCell::default(),
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut State)) -> Self {
        change(Rc::get_mut(&mut self.0).expect("a host is not changed while it is entered"));
        self
    }

    /// Adds a file to the work tree.
    #[must_use]
    pub fn file(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        self.with(|state| state.files.get_mut().put(path, data.as_ref()))
    }

    /// Sets the plugin's settings.
    #[must_use]
    pub fn settings(self, settings: Value) -> Self {
        self.with(|state| state.settings = settings)
    }

    /// Answers commands.
    #[must_use]
    pub fn command(self, answer: impl Fn(&Command) -> Reply + 'static) -> Self {
        self.with(|state| state.answer = Some(Box::new(answer)))
    }

    /// Refuses file operations: called with `read`, `write`, `edit` or
    /// `remove`, and the path.
    #[must_use]
    pub fn refuse(self, refuse: impl Fn(&str, &str) -> Option<Error> + 'static) -> Self {
        self.with(|state| state.refuse = Some(Box::new(refuse)))
    }

    /// Answers HTTP requests. A body beyond the request's bound is cut.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(
        self,
        serve: impl Fn(&crate::http::Request) -> Result<crate::http::Response> + 'static,
    ) -> Self {
        self.with(|state| state.serve = Some(Box::new(serve)))
    }

    /// Makes the task one that was cancelled.
    #[must_use]
    pub fn cancelled(self) -> Self {
        self.with(|state| state.cancelled = true)
    }

    /// Sets the state of the branch and the diff.
    #[must_use]
    pub fn git(self, git: crate::git::State, diff: &str) -> Self {
        self.with(|state| {
            state.git = git;
            state.diff = diff.to_owned();
        })
    }

    /// Runs code inside of this host, on this thread.
    pub fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        struct Leave(Option<Rc<State>>);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _leave = Leave(CURRENT.replace(Some(Rc::clone(&self.0))));
        code()
    }

    /// Calls a tool as the host does, through JSON.
    ///
    /// # Errors
    /// Those of the tool, and [`Invalid`](crate::ErrorCode::Invalid) for
    /// arguments that it does not take.
    pub fn call<T: Tool>(&self, arguments: Value) -> Result<Output> {
        let call = wit::Call {
            id: "call-1".into(),
            tool: T::NAME.into(),
            arguments: arguments.to_string(),
            details: "{}".into(),
        };
        let output = self.enter(|| crate::tool::invoke::<T>(call))?;
        Ok(Output { content: output.content, details: serde_json::from_str(&output.details)? })
    }

    /// Asks a policy, made from this host's settings.
    ///
    /// # Errors
    /// Those of the policy, which are faults where it matters.
    pub fn evaluate<P: Policy>(&self, event: &Event) -> Result<Verdict> {
        let settings = serde_json::from_value(self.0.settings.clone())?;
        self.enter(|| P::new(settings)?.evaluate(event))
    }

    /// The bytes of a file, if it is there.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.files.borrow().get(path).map(<[u8]>::to_vec)
    }

    /// The text of a file, if it is there and UTF-8.
    pub fn text(&self, path: &str) -> Option<String> {
        self.read(path).and_then(|data| String::from_utf8(data).ok())
    }

    /// All paths of the work tree, in order.
    pub fn paths(&self) -> Vec<String> {
        self.0.files.borrow().paths()
    }

    /// Messages of the commits made, oldest first.
    pub fn commits(&self) -> Vec<String> {
        self.0.commits.borrow().iter().map(|commit| commit.message.clone()).collect()
    }

    /// What was written to the standard input of commands.
    pub fn input(&self) -> Vec<u8> {
        self.0.input.borrow().clone()
    }

    /// Lines logged.
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.0.log.borrow().clone()
    }

    /// Progress reported.
    pub fn progress(&self) -> Vec<String> {
        self.0.progress.borrow().clone()
    }
}

/// A failure, as the host's interfaces give it.
fn fails<T>(error: Error) -> Result<T, types::Error> {
    Err(error.into())
}
