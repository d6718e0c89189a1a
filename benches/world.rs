//! Ports in memory, so that what is measured is the way to them: one file,
//! and nothing else.

use async_trait::async_trait;
use sortie_core::action::{
    Against, Change, Commit, Exec, FileRead, FileWrite, HttpRequest, Push, ReadOperation, RepositoryFetch,
};
use sortie_core::{Effect, Facts};
use sortie_policy::ports::{
    Body, BranchState, Commands, CommitInfo, ErrorCode, FileContent, Files, HttpClient, LineMatch, PortError,
    Process, Repository, SearchQuery, Survey,
};
use sortie_policy::{Permit, Seal};
use sortie_testing::Still;

/// The one file.
pub(crate) const PATH: &str = "src/adder.rs";

/// The ports of a task.
pub(crate) struct World {
    seal: Seal,
    file: Vec<u8>,
}

impl World {
    /// Honours the permits of one gate.
    pub(crate) fn new(seal: Seal) -> Self {
        let line = "pub fn add(left: u64, right: u64) -> u64 { left + right }\n";
        Self { seal, file: line.repeat(30).into_bytes() }
    }
}

fn absent<T>() -> Result<T, PortError> {
    Err(PortError::new(ErrorCode::Unavailable, "this is not there in a benchmark"))
}

#[async_trait]
impl Files for World {
    async fn survey_glob(&self, _: &str, _: u32) -> Result<Survey, PortError> {
        absent()
    }

    async fn survey_search(&self, _: &SearchQuery) -> Result<Survey, PortError> {
        absent()
    }

    async fn glob(&self, _: Permit<FileRead>) -> Result<Vec<String>, PortError> {
        absent()
    }

    async fn search(&self, _: Permit<FileRead>) -> Result<Vec<LineMatch>, PortError> {
        absent()
    }

    async fn read(&self, permit: Permit<FileRead>) -> Result<FileContent, PortError> {
        let action = permit.redeem(self.seal)?;
        match action.operation {
            ReadOperation::Read { .. } if action.paths == [PATH] => Ok(FileContent {
                data: self.file.clone(),
                size: self.file.len() as u64,
                etag: "1".to_owned(),
            }),
            _ => Err(PortError::new(ErrorCode::NotFound, format!("no `{}`", action.target()))),
        }
    }

    async fn write(&self, _: Permit<FileWrite>) -> Result<Option<String>, PortError> {
        absent()
    }
}

#[async_trait]
impl Commands for World {
    async fn spawn(&self, _: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        absent()
    }

    async fn attach(&self, _: &str) -> Result<Box<dyn Process>, PortError> {
        absent()
    }
}

#[async_trait]
impl HttpClient for World {
    async fn send(
        &self,
        _: Permit<HttpRequest>,
        _: http::Request<Body>,
    ) -> Result<http::Response<Body>, PortError> {
        absent()
    }
}

#[async_trait]
impl Repository for World {
    async fn fetch_other(&self, _: Permit<RepositoryFetch>) -> Result<String, PortError> {
        absent()
    }

    async fn fetch(&self, _: Permit<RepositoryFetch>) -> Result<String, PortError> {
        absent()
    }

    async fn check_out(&self) -> Result<(), PortError> {
        absent()
    }

    async fn mark_set_up(&self) -> Result<(), PortError> {
        absent()
    }

    async fn changes(&self, _: Against) -> Result<Vec<Change>, PortError> {
        absent()
    }

    async fn state(&self) -> Result<BranchState, PortError> {
        absent()
    }

    async fn status(&self, _: Permit<FileRead>) -> Result<Vec<Change>, PortError> {
        absent()
    }

    async fn diff(&self, _: Permit<FileRead>) -> Result<String, PortError> {
        absent()
    }

    async fn log(&self, _: Permit<FileRead>) -> Result<Vec<CommitInfo>, PortError> {
        absent()
    }

    async fn survey_show(&self, _: &str) -> Result<Vec<String>, PortError> {
        absent()
    }

    async fn show(&self, _: Permit<FileRead>) -> Result<String, PortError> {
        absent()
    }

    async fn commit(&self, _: Permit<Commit>) -> Result<String, PortError> {
        absent()
    }

    async fn planned_push(&self) -> Result<Option<Push>, PortError> {
        absent()
    }

    async fn push(&self, _: Permit<Push>) -> Result<(), PortError> {
        absent()
    }
}

/// The same circumstances for every event.
pub(crate) fn still() -> Still {
    Still::at(Facts {
        repository: "https://forge.example/team/adder".to_owned(),
        branch: "sortie/add-pagination-222222".to_owned(),
        tool_calls: 12,
        turns: 7,
        input_tokens: 48_000,
        output_tokens: 3_100,
        elapsed_ms: 93_000,
        ..sortie_testing::facts()
    })
}
