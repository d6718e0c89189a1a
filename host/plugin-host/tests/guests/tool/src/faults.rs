//! Tools that cost too much, or answer nonsense.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::exports::sortie::fixture::held;
use crate::exports::sortie::tool::tool::Call;
use crate::sortie::host::types::{Error, ErrorCode};
use crate::sortie::host::{control, telemetry};
use crate::wasi::clocks::monotonic_clock;
use crate::{Behaviour, error};

pub const TOOLS: &[(&str, Behaviour)] = &[
    ("echo", |call| Ok(format!("{} {} {}", call.id, call.arguments, call.details))),
    ("count", count),
    ("loop", |_| run_for_ever()),
    ("allocate", allocate),
    ("recurse", |call| Ok(recurse(call.id.len() as u64).to_string())),
    ("panic", |_| panic!("the fixture panicked on \u{1b}[31mpurpose")),
    ("exit", |_| std::process::exit(7)),
    ("sleep", |_| {
        monotonic_clock::subscribe_duration(3_600_000_000_000).block();
        Ok("slept".into())
    }),
    ("print", print),
    ("log", log),
    ("escapes", |_| Ok("\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7} \u{202e}txt".into())),
    ("escapes-in-error", |_| Err(error(ErrorCode::Conflict, "\u{1b}[31mred"))),
    ("malformed-details", |_| Ok("malformed".into())),
    ("array-details", |_| Ok("array".into())),
    ("deep-details", |_| Ok("deep".into())),
    ("huge-result", |_| Ok("x".repeat(9 << 20))),
    ("enormous-result", |_| Ok("x".repeat(40 << 20))),
    ("huge-error", |_| Err(error(ErrorCode::Internal, "x".repeat(1 << 20)))),
    ("pollables", |_| {
        let held: Vec<_> = (0..100_000).map(|_| monotonic_clock::subscribe_duration(1)).collect();
        Ok(held.len().to_string())
    }),
    ("handles", |_| {
        let held: Vec<_> = (0..50_000).map(|_| held::Thing::new(crate::Thing)).collect();
        Ok(held.len().to_string())
    }),
    ("random", |_| Ok(crate::wasi::random::random::get_random_bytes(64 << 20).len().to_string())),
    ("surroundings", surroundings),
    ("wait-for-cancel", wait_for_cancel),
    ("attach-from-another-plugin", crate::effects::attach),
    ("list-background-from-another-plugin", |_| {
        Ok(crate::sortie::host::exec::list_background()?.len().to_string())
    }),
];

pub fn run_for_ever() -> ! {
    let mut number = 0u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

fn count(_: &Call) -> Result<String, Error> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    Ok((CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string())
}

fn allocate(_: &Call) -> Result<String, Error> {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[7]
}

fn print(_: &Call) -> Result<String, Error> {
    let line = "x".repeat(999);
    for _ in 0..50_000 {
        println!("{line}");
        eprintln!("{line}");
    }
    Ok("printed".into())
}

fn log(_: &Call) -> Result<String, Error> {
    for number in 0..5000 {
        telemetry::log(telemetry::Level::Warn, &format!("\u{1b}[31mline {number}\r\nforged"));
    }
    telemetry::log(telemetry::Level::Warn, &"x".repeat(1 << 20));
    for _ in 0..5000 {
        telemetry::progress(&format!("half\nway {}", "x".repeat(1000)));
    }
    Ok("logged".into())
}

fn surroundings(_: &Call) -> Result<String, Error> {
    let variables = std::env::vars().count();
    let arguments = std::env::args().count();
    let folders = crate::wasi::filesystem::preopens::get_directories().len();
    let file = std::fs::read("/etc/passwd").is_ok();
    let socket = std::net::TcpStream::connect("127.0.0.1:1").map_err(|error| error.kind());
    let mut input = String::new();
    let read = std::io::stdin().read_line(&mut input).map_err(|error| error.kind());
    Ok(format!("{variables} {arguments} {folders} {file} {socket:?} {read:?}"))
}

fn wait_for_cancel(_: &Call) -> Result<String, Error> {
    while !control::cancelled() {
        monotonic_clock::subscribe_duration(1_000_000).block();
    }
    // tidying up takes a while
    monotonic_clock::subscribe_duration(1_000_000).block();
    Ok(format!("tidied up with {}", if control::remaining_ms() > 0 { "time left" } else { "no time left" }))
}
