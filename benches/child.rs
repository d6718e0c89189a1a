//! The other way to isolate a tool: a child process that lives on and speaks
//! JSON-RPC over its pipes, one message a line. It does the work of the tool
//! `read_file`, and like it asks its host for the file.
//!
//! Both ends are as fast as they get: blocking pipes, no async runtime, no
//! framing, no schema. What it takes depends on where the scheduler puts it: a
//! child on another core has to be woken for each message, which is most of
//! its time; one on the same core is several times as fast.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// Makes this program the child.
pub(crate) const ARGUMENT: &str = "--json-rpc-child";

/// The host's end.
pub(crate) struct Child {
    process: std::process::Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    line: String,
}

impl Child {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the child does not start")?;
        let requests = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Ok(Self { process, requests, answers, line: String::new() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Calls a tool and serves its callback: `read` is handed the callback's
    /// parameters and returns what it gave.
    pub(crate) async fn call<F: Future<Output = anyhow::Result<Value>>>(
        &mut self,
        tool: &str,
        arguments: &Value,
        read: impl FnOnce(Value) -> F,
    ) -> anyhow::Result<Value> {
        let params = json!({ "name": tool, "arguments": arguments });
        send(
            &mut self.requests,
            &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }),
        )?;
        let mut callback = self.receive()?;
        ensure!(callback["method"] == "files/read", "the child sent {callback}");
        let result = read(callback["params"].take()).await?;
        send(&mut self.requests, &json!({ "jsonrpc": "2.0", "id": callback["id"], "result": result }))?;
        let mut answer = self.receive()?;
        ensure!(answer["result"].is_object(), "the child sent {answer}");
        Ok(answer["result"].take())
    }

    fn receive(&mut self) -> anyhow::Result<Value> {
        self.line.clear();
        self.answers.read_line(&mut self.line)?;
        Ok(serde_json::from_str(&self.line)?)
    }

    /// Closes the pipes, at which the child ends.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let Self { mut process, requests, .. } = self;
        drop(requests);
        let status = process.wait()?;
        ensure!(status.success(), "the child ended with {status}");
        Ok(())
    }
}

fn send(to: &mut impl Write, message: &Value) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()?;
    Ok(())
}

/// The child's end: answers until its standard input is closed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut line = String::new();
    while stdin.read_line(&mut line)? > 0 {
        let request: Value = serde_json::from_str(&line)?;
        let params =
            json!({ "path": request["params"]["arguments"]["path"], "offset": 0, "max": 8_388_608_u32 });
        send(&mut stdout, &json!({ "jsonrpc": "2.0", "id": 2, "method": "files/read", "params": params }))?;
        line.clear();
        stdin.read_line(&mut line)?;
        let file: Value = serde_json::from_str(&line)?;
        let result = numbered(&file["result"]).context("the host sent no file")?;
        send(&mut stdout, &json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))?;
        line.clear();
    }
    Ok(())
}

/// What `read_file` makes of a file.
fn numbered(file: &Value) -> Option<Value> {
    let mut content = String::new();
    let mut lines = 0;
    for line in file["data"].as_str()?.lines() {
        lines += 1;
        writeln!(content, "{lines:>6}\t{line}").ok()?;
    }
    let details = json!({ "start_line": 1, "lines": lines, "total_lines": lines, "bytes": file["size"] });
    Some(json!({ "content": content, "details": details }))
}
