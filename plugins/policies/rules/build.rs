//! Makes a table of the shipped rules, so that no call has to parse them.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

#[path = "src/fold.rs"]
mod fold;

fn main() {
    println!("cargo::rerun-if-changed=default.json");
    println!("cargo::rerun-if-changed=src/fold.rs");
    let text = fs::read_to_string("default.json").expect("default.json is there");
    let file: Value = serde_json::from_str(&text).expect("default.json is JSON");
    let rules = file["rule"].as_array().expect("default.json has a list `rule`");
    let mut table = String::from("pub(crate) static RULES: &[Shipped] = &[\n");
    for rule in rules {
        push_rule(&mut table, rule);
    }
    table.push_str("];\n");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("shipped.rs"), table).expect("OUT_DIR is writable");
}

fn push_rule(table: &mut String, rule: &Value) {
    let text = |key: &str| rule[key].as_str().unwrap_or_else(|| panic!("a rule has no `{key}`: {rule}"));
    let decision = text("decision");
    let choice = match decision {
        "deny" => "Deny",
        "ask" => "Ask",
        "allow" => "Allow",
        other => panic!("there is no decision `{other}`"),
    };
    let conditions: Vec<_> = rule["match"]
        .as_object()
        .expect("`match` is an object")
        .iter()
        .map(|(key, patterns)| {
            let patterns =
                texts(patterns).map(|text| if choice == "Allow" { text.into() } else { fold::fold(text) });
            (key.clone(), patterns.collect::<Vec<_>>())
        })
        .collect();
    let shown: Vec<_> =
        conditions.iter().map(|(key, patterns)| format!("({key:?}, &{patterns:?})")).collect();
    writeln!(
        table,
        "Shipped {{ name: {:?}, action: &{:?}, conditions: &[{}], decision: Choice::{choice}, reason: {:?}, remedy: {:?} }},",
        text("name"),
        texts(&rule["action"]).collect::<Vec<_>>(),
        shown.join(", "),
        text("reason"),
        rule["remedy"].as_str(),
    )
    .expect("writing to a string succeeds");
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str();
    let many = value.as_array().map(Vec::as_slice).unwrap_or_default();
    one.into_iter().chain(many.iter().map(|text| text.as_str().expect("is a text")))
}
