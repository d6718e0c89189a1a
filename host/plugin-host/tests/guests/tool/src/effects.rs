//! Tools that ask the host for something. Arguments: `{"text":"…"}`, with what
//! the tool needs in words.

use crate::exports::sortie::tool::tool::Call;
use crate::sortie::host::types::{Error, ErrorCode};
use crate::sortie::host::{exec, files, git};
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode as HttpCode, Fields, IncomingResponse, Method, OutgoingRequest, Scheme,
};
use crate::{Behaviour, error};

pub const TOOLS: &[(&str, Behaviour)] = &[
    ("run", |call| output(&spawn(&words(call))?)),
    ("run-bounds", run_bounds),
    ("hold", hold),
    ("detach", |call| in_background(&words(call))?.detach()),
    ("detach-foreground", |call| spawn(&words(call))?.detach()),
    ("detach-twice", |call| {
        let process = in_background(&words(call))?;
        process.detach()?;
        process.detach()
    }),
    ("detach-many", |call| {
        for number in 0..1000 {
            if let Err(error) = in_background(&[&text(call), &number.to_string()])?.detach() {
                return Ok(format!("{number} then {:?}", error.code));
            }
        }
        Ok("all".into())
    }),
    ("attach", attach),
    ("detach-again", |call| {
        let process = exec::attach(&text(call))?;
        process.terminate()?;
        process.detach()
    }),
    ("list-background", |_| {
        let list = exec::list_background()?;
        Ok(list.iter().map(|of| format!("{} {} {} {:?};", of.id, of.command, of.age_ms, of.exit)).collect())
    }),
    ("wait", |call| {
        let process = spawn(&words(call))?;
        process.next(3_600_000)?;
        Ok("waited".into())
    }),
    ("read", |call| {
        let content = files::read(&text(call), 0, 100)?;
        Ok(format!("{} of {}", String::from_utf8_lossy(&content.data), content.size))
    }),
    ("write", |call| files::write(&text(call), b"written", &files::IfMatch::Any)),
    ("write-much", |call| files::write(&text(call), &vec![b'x'; 9 << 20], &files::IfMatch::Any)),
    ("edit", |call| files::edit(&text(call), "a", "b", 1)),
    ("remove", |call| files::remove(&text(call)).map(|()| "removed".into())),
    ("glob", |call| {
        Ok(files::glob(&text(call), 3).map(|found| format!("{:?} {}", found.paths, found.truncated))?)
    }),
    ("search", |call| {
        let query = files::Query { pattern: text(call), glob: None, ignore_case: false, max_matches: 10 };
        let found = files::search(&query)?;
        Ok(found.matches.iter().map(|found| format!("{}:{} ", found.path, found.line)).collect())
    }),
    ("status", |_| {
        let state = git::status()?;
        Ok(format!(
            "{} {}",
            state.branch,
            state.changes.iter().map(|change| change.path.as_str()).collect::<String>()
        ))
    }),
    ("diff", |call| git::diff(git::Against::Base, &[text(call)], 100)),
    ("history", |_| Ok(git::log(5)?.iter().map(|commit| commit.message.as_str()).collect())),
    ("show", |call| git::show(&text(call), 100)),
    ("commit", |call| git::commit(&text(call))),
    ("fetch", fetch),
    ("hoard", |call| {
        let mut held = Vec::new();
        for _ in 0..100 {
            match request(&text(call))? {
                Ok(response) => held.push(response),
                Err(code) => return Ok(format!("{} then {code:?}", held.len())),
            }
        }
        Ok("all".into())
    }),
    ("fetch-many", |call| {
        (0..100).try_for_each(|_| request(&text(call))?.map(drop).map_err(fetched))?;
        Ok("all".into())
    }),
];

fn text(call: &Call) -> String {
    let inner = call.arguments.split_once("\"text\":\"").map(|(_, rest)| rest).unwrap_or_default();
    inner.rsplit_once('"').map(|(text, _)| text).unwrap_or_default().to_owned()
}

fn words(call: &Call) -> Vec<&str> {
    text(call).leak().split(' ').collect()
}

pub fn attach(call: &Call) -> Result<String, Error> {
    output(&exec::attach(&text(call))?)
}

pub fn spawn(argv: &[&str]) -> Result<exec::Process, Error> {
    exec::spawn(&command(argv, false))
}

fn in_background(argv: &[&str]) -> Result<exec::Process, Error> {
    exec::spawn(&command(argv, true))
}

fn command(argv: &[&str], background: bool) -> exec::Command {
    exec::Command {
        argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
        cwd: None,
        env: Vec::new(),
        stdin: false,
        tty: false,
        background,
        timeout_ms: None,
        idle_timeout_ms: None,
        max_output: None,
    }
}

fn output(process: &exec::Process) -> Result<String, Error> {
    let mut output = String::new();
    while let Some(chunk) = process.next(60_000)? {
        match chunk {
            exec::Chunk::Stdout(bytes) | exec::Chunk::Stderr(bytes) => {
                output += &String::from_utf8_lossy(&bytes)
            }
            exec::Chunk::Skipped(bytes) => output += &format!("({bytes} skipped)"),
            exec::Chunk::Exit(ended) => {
                let limits = ended.limits.iter().map(|limit| format!(" {} = {}", limit.name, limit.value));
                return Ok(format!("{output}{:?}{}", ended.exit, limits.collect::<String>()));
            }
        }
    }
    Err(error(ErrorCode::Internal, "the command did not end"))
}

fn run_bounds(_: &Call) -> Result<String, Error> {
    let mut codes = Vec::new();
    for argv in [vec![], vec![""], vec!["true", "a\0b"], vec!["true"; 5000]] {
        codes.push(spawn(&argv).err().map(|error| error.code));
    }
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "a\0b")] {
        let env = vec![(name.to_owned(), value.to_owned())];
        let command = exec::Command { env, ..command(&["true"], false) };
        codes.push(exec::spawn(&command).err().map(|error| error.code));
    }
    let process = spawn(&["true"])?;
    codes.push(process.write(&vec![0; 2 << 20]).err().map(|error| error.code));
    Ok(format!("{codes:?}"))
}

fn hold(_: &Call) -> Result<String, Error> {
    let mut held = Vec::new();
    for _ in 0..1000 {
        match spawn(&["true"]) {
            Ok(process) => held.push(process),
            Err(error) => return Ok(format!("{} then {:?}", held.len(), error.code)),
        }
    }
    Ok("all".into())
}

fn fetch(call: &Call) -> Result<String, Error> {
    let failed = |what: &str| error(ErrorCode::Invalid, what);
    let response = request(&text(call))?.map_err(fetched)?;
    let body = response.consume().map_err(|()| failed("body"))?;
    let stream = body.stream().map_err(|()| failed("stream"))?;
    let bytes = stream.blocking_read(1000).unwrap_or_default();
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&bytes)))
}

fn fetched(code: HttpCode) -> Error {
    match code {
        HttpCode::HttpRequestDenied => error(ErrorCode::Denied, "the request was denied"),
        other => error(ErrorCode::Unavailable, format!("{other:?}")),
    }
}

/// Sends `METHOD URL`.
fn request(text: &str) -> Result<Result<IncomingResponse, HttpCode>, Error> {
    let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let failed = |what: &str| error(ErrorCode::Invalid, what);
    let request = OutgoingRequest::new(Fields::new());
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| failed("method"))?;
    request
        .set_scheme(Some(&if scheme == "http" { Scheme::Http } else { Scheme::Https }))
        .map_err(|()| failed("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| failed("authority"))?;
    request
        .set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
        .map_err(|()| failed("path"))?;
    let pending = match outgoing_handler::handle(request, None) {
        Ok(pending) => pending,
        Err(code) => return Ok(Err(code)),
    };
    pending.subscribe().block();
    Ok(pending.get().expect("it is ready").expect("taken once"))
}
