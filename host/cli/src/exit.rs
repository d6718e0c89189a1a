//! From the first argument to the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use sortie_agent::AgentError;
use sortie_core::Outcome;
use sortie_core::text::strip_escapes;
use sortie_orchestrator::RunError;
use sortie_policy::Refusal;
use sortie_policy::ports::{ErrorCode, ModelError};

use crate::args::Arguments;
use crate::{commands, print};

/// The exit codes; what each stands for is said in `sortie help run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Unfinished,
    Usage,
    Refused,
    Budget,
    Platform,
    Cancelled,
    /// With the code of a command that ran for the user.
    Command(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unfinished => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Budget => 4,
            Self::Platform => 5,
            Self::Cancelled => 130,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that says itself with which code to end.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// Something that the user has to change.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// Something that a policy does not allow.
    pub(crate) fn refused(refusal: Refusal) -> anyhow::Error {
        Self { exit: Exit::Refused, message: refusal.to_string() }.into()
    }
}

/// How a task's end is told to the shell.
pub(crate) fn of_task(outcome: Outcome, error: Option<&RunError>) -> Exit {
    match outcome {
        Outcome::Done => Exit::Done,
        Outcome::Refused => Exit::Refused,
        Outcome::Budget => Exit::Budget,
        Outcome::Cancelled => Exit::Cancelled,
        Outcome::Partial | Outcome::Blocked => Exit::Unfinished,
        Outcome::Failed => error.map_or(Exit::Unfinished, of_run_error),
    }
}

fn of_run_error(error: &RunError) -> Exit {
    match error {
        RunError::Port { step: "clone" | "read the repository's settings" | "push", error }
            if matches!(error.code, ErrorCode::NotFound | ErrorCode::Conflict | ErrorCode::Invalid) =>
        {
            Exit::Usage
        }
        // what somebody names that it may not be made of
        RunError::Port { step: "find what the workspace is made of" | "start the workspace", error }
            if error.code == ErrorCode::Invalid =>
        {
            Exit::Usage
        }
        RunError::Agent(AgentError::Model(ModelError::Unauthorised { .. }))
        | RunError::NoSetUp(_)
        | RunError::NeedsContainer(_)
        | RunError::UnwantedImage(_) => Exit::Usage,
        RunError::Refused(_) => Exit::Refused,
        RunError::Cancelled => Exit::Cancelled,
        _ => Exit::Platform,
    }
}

/// The one place where errors become exit codes.
fn of_error(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Platform, |failure| failure.exit)
}

/// An error with its causes, but for those that it tells of itself: many do, as who has no causes to show has their
/// words alone.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // a reader that went away is no reason to fail
            drop(error.print());
            let told = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if told { Exit::Done } else { Exit::Usage }.into();
        }
    };
    start_log();
    let exit = commands::run(arguments).unwrap_or_else(|error| {
        print::tell(format_args!("error: {}", strip_escapes(&told(&error))));
        of_error(&error)
    });
    match print::lost() {
        Some(why) if exit == Exit::Done => {
            print::tell(format_args!("error: the output could not be written: {why}"));
            Exit::Platform.into()
        }
        _ => exit.into(),
    }
}

/// The host's own log, on stderr, for `SORTIE_LOG` (as `tracing`'s env filter).
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SORTIE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // it would panic where stderr is gone
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once_whether_its_error_tells_of_it_or_not() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read `x`: {source}")]
        struct Telling {
            source: std::io::Error,
        }
        let full = || std::io::Error::other("incomplete frame");
        let error = Err::<(), _>(Telling { source: full() }).context("the archive cannot be restored");
        let expected = "the archive cannot be restored: cannot read `x`: incomplete frame";
        assert_eq!(told(&error.expect_err("it is one")), expected);
        let error = Err::<(), _>(full()).context("cannot read `x`").expect_err("it is one");
        assert_eq!(told(&error), "cannot read `x`: incomplete frame");
    }
}
