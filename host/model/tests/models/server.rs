//! An HTTP server that says what a test tells it to, byte by byte.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a response ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// In order.
    Whole,
    /// The connection closes in the middle.
    Cut,
    /// Nothing follows, and the connection stays.
    Hang,
    /// Comments follow, for ever.
    Drip,
}

/// One response. Each piece is a chunk of its own, which HTTP clients hand on
/// as such.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

impl Response {
    pub(crate) fn stream(text: impl AsRef<[u8]>) -> Self {
        let headers = vec![("content-type", "text/event-stream; charset=utf-8".to_owned())];
        Self { status: 200, headers, pieces: vec![text.as_ref().to_vec()], end: End::Whole }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, pieces: vec![body.as_bytes().to_vec()], end: End::Whole }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn pieces(mut self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.pieces = pieces.into_iter().collect();
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Whatever\r\ntransfer-encoding: chunked\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

type Answers = dyn Fn(usize, &Request) -> Response + Send + Sync;

/// The server. It ends with its value.
pub(crate) struct Server {
    pub(crate) origin: String,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers with each of these, then with 418.
    pub(crate) async fn with(answers: impl IntoIterator<Item = Response>) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        let none_left = || Response::status(418, "no more answers");
        Self::answering(move |number, _| answers.get(number).cloned().unwrap_or_else(none_left)).await
    }

    /// Answers request number `usize` as the function says.
    pub(crate) async fn answering(
        answers: impl Fn(usize, &Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let origin = format!("http://{}", listener.local_addr().expect("is bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Answers> = Arc::new(answers);
        let seen = requests.clone();
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                serving.spawn(serve(stream, answers.clone(), seen.clone()));
            }
        });
        Self { origin, requests, connections, task }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("is not poisoned").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>, seen: Arc<Mutex<Vec<Request>>>) {
    stream.set_nodelay(true).expect("is a TCP socket");
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let number = {
            let mut seen = seen.lock().expect("is not poisoned");
            seen.push(request.clone());
            seen.len() - 1
        };
        let response = answers(number, &request);
        if write(&mut stream, &response).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut request = Request { head, body: Value::Null };
    let length: usize = request.header("content-length")?.parse().ok()?;
    while buffer.len() < end + length {
        more(stream, buffer).await?;
    }
    request.body = serde_json::from_slice(&buffer[end..end + length]).ok()?;
    buffer.drain(..end + length);
    Some(request)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = vec![0; 16384];
    let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
    buffer.extend_from_slice(&piece[..count]);
    Some(())
}

/// None if the connection is over.
async fn write(stream: &mut TcpStream, response: &Response) -> Option<()> {
    let mut bytes = response.head().into_bytes();
    for piece in response.pieces.iter().filter(|piece| !piece.is_empty()) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    if matches!(response.end, End::Whole) {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    stream.write_all(&bytes).await.ok()?;
    match response.end {
        End::Whole => Some(()),
        End::Cut => None,
        End::Hang => std::future::pending().await,
        End::Drip => loop {
            stream.write_all(b"2\r\n:\n\r\n").await.ok()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        },
    }
}
