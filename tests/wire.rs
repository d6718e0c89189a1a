//! The job of the demo over each wire API, from a server on loopback: with
//! streams in pieces, and with everything that servers do wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::support::{FIX, Ran, Site};

#[path = "../host/model/tests/models/transcripts.rs"]
#[expect(dead_code, reason = "the model's own tests use the rest of it")]
mod transcripts;

use transcripts::{PROVIDERS, calling, saying, silent};

/// One answer of the server.
#[derive(Clone)]
enum Answer {
    /// A stream, in pieces of so many bytes.
    Stream(String, usize),
    /// A stream that ends before its end.
    Broken(String),
    /// A status, with further header lines.
    Status(u16, &'static str),
}

/// Answers requests in order; beyond the last answer with the last one.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&seen);
        // ends with the test's process
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().flatten().enumerate() {
                let answer = answers[at.min(answers.len() - 1)].clone();
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(stream, &answer, &log));
            }
        });
        Self { port, seen }
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `sortie run` on the site's clone with this server as the provider.
    fn run(&self, site: &Site, provider: &str) -> Command {
        let mut command = site.sortie();
        command.args(["run", "Fix the failing test.", "--json", "--repo"]).arg(site.clone());
        command.args(["--model", &format!("{provider}/test-model")]);
        let base = format!("http://127.0.0.1:{}", self.port);
        if provider == "anthropic" {
            command.env("ANTHROPIC_BASE_URL", base).env("ANTHROPIC_API_KEY", KEY);
        } else {
            command.env("OPENAI_BASE_URL", format!("{base}/v1")).env("OPENAI_API_KEY", KEY);
        }
        command
    }
}

const KEY: &str = "sk-test-3f9c1a77b2";

fn serve(stream: TcpStream, answer: &Answer, log: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    log.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&body).into_owned());
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    match answer {
        Answer::Stream(text, piece) => {
            stream.write_all(ok.as_bytes()).ok()?;
            for piece in text.as_bytes().chunks(*piece) {
                stream.write_all(piece).ok()?;
                stream.flush().ok()?;
            }
        }
        Answer::Broken(text) => {
            stream.write_all(ok.as_bytes()).ok()?;
            stream.write_all(&text.as_bytes()[..text.len() * 2 / 3]).ok()?;
        }
        Answer::Status(status, headers) => {
            let echo = lower.lines().filter(|line| line.contains("key") || line.contains("authorization"));
            let body = json!({ "error": { "message": echo.collect::<String>() + &head } }).to_string();
            let text = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(text.as_bytes()).ok()?;
        }
    }
    Some(())
}

fn shell(provider: &str, command: &str) -> String {
    calling(provider, "shell", &json!({ "command": command }).to_string())
}

fn finish(provider: &str) -> String {
    let arguments = json!({ "outcome": "done", "title": "Collapse separators", "summary": "Done." });
    calling(provider, "finish", &arguments.to_string())
}

#[test]
fn the_job_ends_the_same_over_each_wire_api_in_pieces_of_any_size() {
    for provider in PROVIDERS {
        for piece in [1, 7, 64, usize::MAX] {
            let stream = |text| Answer::Stream(text, piece);
            let site = Site::new();
            let server = Server::new(vec![
                stream(shell(provider, "cat slug.sh; sh test.sh")),
                stream(shell(provider, FIX)),
                stream(calling(provider, "run_tests", "{}")),
                stream(finish(provider)),
            ]);
            Ran::of(&mut server.run(&site, provider)).assert_fixed(&site);
            let requests = server.requests();
            assert_eq!(requests.len(), 4, "{provider}, pieces of {piece}");
            assert!(requests[1].contains("not ok 3"), "the model sees what the tool gave: {}", requests[1]);
            assert!(requests[3].contains("3 passed"), "{}", requests[3]);
        }
    }
}

#[test]
fn the_job_ends_the_same_through_everything_that_servers_do_wrong() {
    for provider in PROVIDERS {
        let stream = |text| Answer::Stream(text, usize::MAX);
        let site = Site::new();
        let server = Server::new(vec![
            Answer::Status(429, "retry-after: 0\r\n"),
            Answer::Status(500, "retry-after-ms: 1\r\n"),
            Answer::Broken(shell(provider, "echo never")),
            stream(calling(provider, "shell", "{\"command\": ")),
            stream(calling(provider, "no_such_tool", "{}")),
            stream(silent(provider)),
            stream(shell(provider, FIX)),
            stream(saying(provider, "Collapsed runs of separators.")),
        ]);
        let ran = Ran::of(&mut server.run(&site, provider));
        ran.assert_fixed(&site);
        assert_eq!(ran.of_type("model.retried").count(), 3, "{provider}");
        assert!(!ran.tool_results().contains("never"), "a broken reply is not acted on");
        let told = server.requests().join("\n");
        assert!(told.contains("there is no tool `no_such_tool`"), "{told}");
    }
}

#[test]
fn a_wrong_key_ends_with_code_2_and_a_message_without_the_key() {
    for provider in PROVIDERS {
        let site = Site::new();
        let server = Server::new(vec![Answer::Status(401, "")]);
        let output = server.run(&site, provider).output().expect("runs");
        let all =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{all}");
        assert!(all.contains("does not accept the key"), "{all}");
        assert!(!all.contains(KEY), "{all}");
        let journal = std::fs::read(site.path().join("home/journal.db-wal")).unwrap_or_default();
        let database = std::fs::read(site.path().join("home/journal.db")).expect("a journal");
        for bytes in [journal, database] {
            assert!(
                !bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()),
                "the key is in the journal"
            );
        }
    }
}
