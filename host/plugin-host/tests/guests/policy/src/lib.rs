//! A policy that does what the action's target says.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::SystemTime;

wit_bindgen::generate!({
    path: ["../../../../../wit/host", "../../../../../wit/policy"],
    world: "sortie:policy/plugin",
    generate_all,
});

use exports::sortie::policy::policy::{Decision, Event, Guest, Verdict};
use sortie::host::types::{Error, ErrorCode};

struct Fixture;

impl Guest for Fixture {
    fn validate_settings(settings: String) -> Result<(), Error> {
        if settings.contains("\"refused\"") {
            return Err(Error { code: ErrorCode::Invalid, message: "no such rule".into(), rule: None });
        }
        Ok(())
    }

    fn evaluate(event: Event) -> Verdict {
        let decision = match event.action.target.as_str() {
            "allow" => Decision::Allow,
            "ask" => Decision::Ask("is it \u{1b}[31mred?".into()),
            "deny" => Decision::Deny("it is \u{1b}[31mred".into()),
            "transform" => Decision::Transform(event.action.details.replace("transform", "changed")),
            "malformed" => Decision::Transform("{".into()),
            "no-object" => Decision::Transform("[]".into()),
            "surroundings" => Decision::Deny(surroundings()),
            "facts" => Decision::Deny(format!("{} {}", event.actor, event.facts)),
            "loop" => loop {
                black_box(());
            },
            "allocate" => {
                let mut held = Vec::new();
                loop {
                    held.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "recurse" => Decision::Deny(recurse(1).to_string()),
            "panic" => panic!("the policy panicked on purpose"),
            "exit" => std::process::exit(3),
            "print" => {
                let line = "x".repeat(999);
                (0..10_000).for_each(|_| println!("{line}"));
                Decision::Allow
            }
            _ => Decision::Abstain,
        };
        Verdict { decision, rule: Some("a-rule".into()), remedy: Some("ask nicely".into()) }
    }
}

/// What differs from call to call unless the host takes care.
fn surroundings() -> String {
    let mut map = HashMap::new();
    map.extend((0..8).map(|number| (number, number)));
    let order: Vec<_> = map.keys().collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let start = std::time::Instant::now();
    (0..1000).for_each(|number| {
        black_box(number);
    });
    format!("{order:?} {} {:?}", now.as_millis(), start.elapsed())
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[7]
}

export!(Fixture);
