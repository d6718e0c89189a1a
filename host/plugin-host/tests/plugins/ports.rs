//! Ports in memory, which remember what they were asked to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full};
use sortie_core::action::{
    Against, Change, ChangeKind, Commit, Exec, FileRead, FileWrite, HttpRequest, Push, ReadOperation,
    RepositoryFetch, WriteOperation,
};
use sortie_policy::ports::*;
use sortie_policy::{Gate, Permit};

/// All ports of a task in one.
#[derive(Default)]
pub(crate) struct World {
    gate: OnceLock<Arc<Gate>>,
    /// What was done, one line each.
    done: Mutex<Vec<String>>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Commands that run now.
    pub(crate) running: Arc<AtomicUsize>,
    /// Commands in the background; one whose program is `true` has ended.
    detached: Arc<Mutex<Vec<Background>>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let world = Self::default();
        for path in ["src/a.rs", "src/b.rs", "src/c.rs", "src/d.rs", "secret/key"] {
            world.files.lock().expect("lock").insert(path.into(), format!("content of {path}").into_bytes());
        }
        Arc::new(world)
    }

    pub(crate) fn set_gate(&self, gate: &Arc<Gate>) {
        assert!(self.gate.set(Arc::clone(gate)).is_ok());
    }

    /// Takes what was done.
    pub(crate) fn take_done(&self) -> Vec<String> {
        std::mem::take(&mut self.done.lock().expect("lock"))
    }

    fn redeem<A: sortie_core::Effect>(&self, permit: Permit<A>) -> A {
        let action = permit.redeem(self.gate.get().expect("a gate").seal()).expect("our permit");
        self.done.lock().expect("lock").push(action.action().to_string());
        action
    }
}

/// A command that ends at once, or never.
struct Fake {
    chunks: Vec<Chunk>,
    for_ever: bool,
    name: String,
    background: bool,
    id: Option<String>,
    running: Arc<AtomicUsize>,
    detached: Arc<Mutex<Vec<Background>>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Commands for World {
    async fn spawn(&self, permit: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        let action = self.redeem(permit);
        self.running.fetch_add(1, Ordering::SeqCst);
        let end = Chunk::Exit(Ended::of(Exit::Code(0)));
        let chunks = vec![end, Chunk::Stdout(format!("{} ", action.argv.join(" ")).into_bytes())];
        let for_ever = action.argv[0] == "sleep";
        Ok(Box::new(Fake {
            chunks,
            for_ever,
            name: action.argv.join(" "),
            background: action.background,
            id: None,
            running: Arc::clone(&self.running),
            detached: Arc::clone(&self.detached),
        }))
    }

    async fn attach(&self, id: &str) -> Result<Box<dyn Process>, PortError> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let limits = vec![LimitReached { limit: CommandLimit::IdleTimeout, value: 7 }];
        let end = Ended { limits, ..Ended::of(Exit::TimedOut) };
        let chunks = vec![Chunk::Exit(end), Chunk::Skipped(5)];
        Ok(Box::new(Fake {
            chunks,
            for_ever: false,
            name: id.into(),
            background: true,
            id: Some(id.into()),
            running: Arc::clone(&self.running),
            detached: Arc::clone(&self.detached),
        }))
    }

    fn background(&self) -> Vec<Background> {
        self.detached.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Process for Fake {
    async fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, PortError> {
        if self.for_ever {
            tokio::time::sleep(wait).await;
            return Ok(None);
        }
        Ok(self.chunks.pop())
    }

    async fn write(&mut self, _: &[u8]) -> Result<(), PortError> {
        Ok(())
    }

    async fn close_stdin(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn terminate(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn detach(self: Box<Self>) -> Result<String, PortError> {
        if !self.background {
            return Err(PortError::new(ErrorCode::Invalid, "not started for the background"));
        }
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let mut detached = self.detached.lock().expect("lock");
        let id = format!("p{}", detached.len() + 1);
        detached.push(Background {
            id: id.clone(),
            command: self.name.clone(),
            age: Duration::from_secs(2),
            exit: (!self.for_ever).then_some(Exit::Code(0)),
        });
        Ok(id)
    }
}

#[async_trait]
impl Files for World {
    async fn survey_glob(&self, _: &str, _: u32) -> Result<Survey, PortError> {
        let paths = self.files.lock().expect("lock").keys().cloned().collect();
        Ok(Survey { paths, ..Survey::default() })
    }

    async fn survey_search(&self, _: &SearchQuery) -> Result<Survey, PortError> {
        self.survey_glob("", 0).await
    }

    async fn glob(&self, permit: Permit<FileRead>) -> Result<Vec<String>, PortError> {
        Ok(self.redeem(permit).paths)
    }

    async fn search(&self, permit: Permit<FileRead>) -> Result<Vec<LineMatch>, PortError> {
        let paths = self.redeem(permit).paths;
        Ok(paths.into_iter().map(|path| LineMatch { path, line: 1, text: "content".into() }).collect())
    }

    async fn read(&self, permit: Permit<FileRead>) -> Result<FileContent, PortError> {
        let action = self.redeem(permit);
        let ReadOperation::Read { offset, max } = action.operation else { panic!("a read") };
        let files = self.files.lock().expect("lock");
        let data =
            files.get(&action.paths[0]).ok_or_else(|| PortError::new(ErrorCode::NotFound, "no such file"))?;
        let piece = data.iter().skip(offset as usize).take(max as usize).copied().collect();
        Ok(FileContent { data: piece, size: data.len() as u64, etag: "1".into() })
    }

    async fn write(&self, permit: Permit<FileWrite>) -> Result<Option<String>, PortError> {
        let action = self.redeem(permit);
        let mut files = self.files.lock().expect("lock");
        match action.operation {
            WriteOperation::Write { data, .. } => drop(files.insert(action.path, data.to_vec())),
            WriteOperation::Edit { .. } => {}
            WriteOperation::Remove => {
                files.remove(&action.path);
                return Ok(None);
            }
        }
        Ok(Some("2".into()))
    }
}

#[async_trait]
impl Repository for World {
    async fn fetch_other(&self, _: Permit<RepositoryFetch>) -> Result<String, PortError> {
        unreachable!("nobody names another base")
    }

    async fn fetch(&self, _: Permit<RepositoryFetch>) -> Result<String, PortError> {
        unreachable!("tools do not fetch")
    }

    async fn check_out(&self) -> Result<(), PortError> {
        unreachable!("tools do not check out")
    }

    async fn mark_set_up(&self) -> Result<(), PortError> {
        unreachable!("tools do not set up")
    }

    async fn changes(&self, _: Against) -> Result<Vec<Change>, PortError> {
        let change = |path: &str| Change { path: path.into(), kind: ChangeKind::Modified };
        Ok(vec![change("src/a.rs"), change("secret/key")])
    }

    async fn state(&self) -> Result<BranchState, PortError> {
        Ok(BranchState { branch: "sortie/x".into(), base: "0".repeat(40), head: "1".repeat(40) })
    }

    async fn status(&self, permit: Permit<FileRead>) -> Result<Vec<Change>, PortError> {
        let paths = self.redeem(permit).paths;
        Ok(paths.into_iter().map(|path| Change { path, kind: ChangeKind::Modified }).collect())
    }

    async fn diff(&self, permit: Permit<FileRead>) -> Result<String, PortError> {
        Ok(format!("diff of {}", self.redeem(permit).paths.join(",")) + &"é".repeat(100))
    }

    async fn log(&self, permit: Permit<FileRead>) -> Result<Vec<CommitInfo>, PortError> {
        self.redeem(permit);
        Ok(vec![CommitInfo {
            id: "1".repeat(40),
            author: "a".into(),
            time: 0,
            message: "the message".into(),
        }])
    }

    async fn survey_show(&self, _: &str) -> Result<Vec<String>, PortError> {
        Ok(vec!["src/a.rs".into()])
    }

    async fn show(&self, permit: Permit<FileRead>) -> Result<String, PortError> {
        Ok(format!("commit of {}", self.redeem(permit).paths.join(",")))
    }

    async fn commit(&self, permit: Permit<Commit>) -> Result<String, PortError> {
        let commit = self.redeem(permit);
        Ok(format!("{} {}", commit.message, commit.changes.len()))
    }

    async fn planned_push(&self) -> Result<Option<Push>, PortError> {
        unreachable!("tools do not push")
    }

    async fn push(&self, _: Permit<Push>) -> Result<(), PortError> {
        unreachable!("tools do not push")
    }
}

#[async_trait]
impl HttpClient for World {
    async fn send(
        &self,
        permit: Permit<HttpRequest>,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, PortError> {
        let action = self.redeem(permit);
        assert_eq!(action.url, request.uri().to_string());
        assert_eq!(action.method, request.method().as_str());
        if action.url.contains("unreachable") {
            return Err(PortError::new(ErrorCode::Unavailable, "nothing resolves \u{1b}[31mthis name"));
        }
        if action.url.contains("private") {
            let rule = Some("egress/public-addresses".into());
            return Err(PortError {
                rule,
                ..PortError::new(ErrorCode::Denied, "it is not public; trust it")
            });
        }
        let host = request.headers()["host"].to_str().expect("text").to_owned();
        let body =
            Full::new(format!("hello from {host}").into()).map_err(|never| match never {}).boxed_unsync();
        Ok(http::Response::new(body))
    }
}
