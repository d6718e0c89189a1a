//! The policy as a whole.

use sortie_sdk::testing::Host;

use super::*;

fn event(kind: &str, target: &str, details: Value) -> Event {
    let facts = json!({"branch": "sortie/fix-1", "phase": "work"});
    Event::new("d1", "agent", kind, target, details, facts).expect("is an event")
}

fn push(reference: &str, paths: &[&str]) -> Event {
    let changes: Vec<_> = paths.iter().map(|path| json!({"path": path, "kind": "added"})).collect();
    event(
        "push",
        reference,
        json!({"remote": "r", "reference": reference, "commit": "c", "changes": changes}),
    )
}

fn write(path: &str) -> Event {
    event("file-write", path, json!({"operation": "edit", "path": path, "old": "a", "new": "b", "count": 1}))
}

fn search(paths: &[&str]) -> Event {
    let details = json!({"operation": "search", "pattern": "x", "ignore_case": false, "max_matches": 1, "paths": paths});
    event("file-read", "search x", details)
}

fn verdict(settings: Value, event: &Event) -> Verdict {
    Host::new().settings(settings).evaluate::<Rules>(event).expect("decides")
}

fn shipped_verdict(event: &Event) -> Verdict {
    verdict(json!({}), event)
}

fn check(settings: Value) -> Result<()> {
    Rules::new(serde_json::from_value(settings)?)?.check()
}

fn denied_by(verdict: &Verdict) -> Option<&str> {
    matches!(verdict.decision, Decision::Deny(_)).then_some(verdict.rule.as_deref()).flatten()
}

#[test]
fn the_shipped_rules_are_good_and_each_has_examples() {
    check(json!({})).expect("are good");
    for rule in shipped::with_examples().expect("parse") {
        assert!(!rule.allows.is_empty() && !rule.denies.is_empty(), "{} has no examples", rule.name);
    }
}

#[test]
fn the_table_that_the_build_makes_says_what_the_file_says() {
    let file = shipped::with_examples().expect("parse");
    let shown = |rule: &Rule| {
        let conditions: Vec<(String, Vec<&str>)> =
            rule.conditions.iter().map(|(key, texts)| (key.to_string(), texts.iter().collect())).collect();
        let action: Vec<_> = rule.action.iter().collect();
        format!(
            "{} {action:?} {conditions:?} {:?} {} {:?}",
            rule.name, rule.decision, rule.reason, rule.remedy
        )
    };
    let table: Vec<_> = SHIPPED.iter().map(|rule| shown(&Rule::from(rule))).collect();
    assert_eq!(table, file.iter().map(shown).collect::<Vec<_>>());
}

#[test]
fn protected_branches_take_no_push_however_they_are_written() {
    for reference in [
        "refs/heads/main",
        "refs/heads/MAIN",
        "refs/heads/master",
        "refs/heads/release/9",
        "HEAD",
        "refs/tags/v1",
    ] {
        assert_eq!(
            denied_by(&shipped_verdict(&push(reference, &[]))),
            Some("protected-branches"),
            "{reference}"
        );
    }
}

#[test]
fn a_task_pushes_to_its_own_branch_and_to_no_other_by_this_policy() {
    assert_eq!(shipped_verdict(&push("refs/heads/sortie/x", &["src/a.rs"])).decision, Decision::Allow);
    for other in
        ["refs/heads/feature", "refs/heads/SORTIE/x", "refs/heads/a/refs/heads/sortie/x", "refs/sortie/x"]
    {
        assert_eq!(shipped_verdict(&push(other, &[])).decision, Decision::Abstain, "{other}");
    }
}

#[test]
fn a_change_request_is_allowed_from_a_task_branch_only() {
    let request = event("change-request", "any", json!({}));
    assert_eq!(shipped_verdict(&request).decision, Decision::Allow);
    let elsewhere = Event::new("d1", "agent", "change-request", "any", json!({}), json!({"branch": "main"}));
    assert_eq!(shipped_verdict(&elsewhere.expect("is an event")).decision, Decision::Abstain);
}

#[test]
fn nothing_below_git_is_written_committed_or_pushed() {
    for path in [
        ".git/config",
        "./.git/config",
        "a//.git/hooks/x",
        ".GIT/config",
        "sub/.git",
        "a/../.git/x",
        ".git /x",
        ".g\u{200d}it/x",
    ] {
        assert_eq!(denied_by(&shipped_verdict(&write(path))), Some("git-directory"), "{path}");
        let push = push("refs/heads/sortie/x", &["fine", path]);
        assert_eq!(denied_by(&shipped_verdict(&push)), Some("git-directory"), "{path}");
    }
    assert_eq!(shipped_verdict(&write(".gitignore")).decision, Decision::Abstain);
}

#[test]
fn one_credential_file_among_many_stops_a_commit_and_is_named() {
    let changes: Vec<_> = (0..500)
        .map(|i| json!({"path": format!("src/{i}"), "kind": "added"}))
        .chain([
            json!({"path": "app/.Env.\nlocal", "kind": "added"}),
            json!({"path": "app/.Env", "kind": "added"}),
        ])
        .collect();
    let commit = event("commit", "b", json!({"branch": "b", "message": "m", "changes": changes}));
    let verdict = shipped_verdict(&commit);
    assert_eq!(denied_by(&verdict), Some("credential-files"));
    let Decision::Deny(reason) = verdict.decision else { panic!("is denied") };
    assert!(reason.contains(r"app/.Env.\nlocal") && !reason.contains('\n'), "{reason}");
    assert!(verdict.remedy.is_some());
}

#[test]
fn workflow_files_ask_and_a_denial_beside_them_wins() {
    let asked = shipped_verdict(&write(".github/workflows/ci.yml"));
    assert!(matches!(asked.decision, Decision::Ask(_)), "{asked:?}");
    let both = push("refs/heads/main", &[".github/workflows/ci.yml"]);
    assert_eq!(denied_by(&shipped_verdict(&both)), Some("protected-branches"));
    let allowed_too = push("refs/heads/sortie/x", &[".github/workflows/ci.yml"]);
    assert!(matches!(shipped_verdict(&allowed_too).decision, Decision::Ask(_)));
}

#[test]
fn a_search_that_would_show_credentials_is_denied_or_where_set_filtered() {
    let event = search(&["src/a.rs", ".env", "b/.env.example"]);
    let denied = shipped_verdict(&event);
    assert_eq!(denied_by(&denied), Some("credential-reads"));
    assert!(matches!(&denied.decision, Decision::Deny(reason) if reason.ends_with(": .env")), "{denied:?}");
    // the host shows 500 bytes of it
    let remedy = denied.remedy.expect("it says what to do");
    assert!(remedy.contains("glob") && remedy.contains("filter = true") && remedy.len() <= 500, "{remedy}");
    let Decision::Transform(details) = verdict(json!({"filter": true}), &event).decision else {
        panic!("is filtered")
    };
    assert_eq!(details["paths"], json!(["src/a.rs", "b/.env.example"]));
    assert_eq!(details["pattern"], "x");
    let harmless = search(&["src/a.rs"]);
    assert_eq!(verdict(json!({"filter": true}), &harmless).decision, Decision::Abstain);
}

#[test]
fn reading_one_credential_file_is_denied_even_where_filtering_is_set() {
    let details = json!({"operation": "read", "offset": 0, "max": 9, "paths": ["./.env"]});
    let event = event("file-read", "./.env", details);
    assert_eq!(denied_by(&verdict(json!({"filter": true}), &event)), Some("credential-reads"));
}

#[test]
fn an_operators_allow_does_not_loosen_a_shipped_denial_but_switching_it_off_does() {
    let allow = json!({"rule": [
        {"name": "mine", "action": "push", "match": {"target": "refs/heads/main"}, "decision": "allow", "reason": "we do"}
    ]});
    assert_eq!(denied_by(&verdict(allow.clone(), &push("refs/heads/main", &[]))), Some("protected-branches"));
    let mut off = allow;
    off["disable"] = json!(["protected-branches"]);
    assert_eq!(verdict(off.clone(), &push("refs/heads/main", &[])).decision, Decision::Allow);
    check(off).expect("is good");
    let none = json!({"default_rules": false});
    assert_eq!(verdict(none, &push("refs/heads/main", &[])).decision, Decision::Abstain);
}

#[test]
fn a_command_is_found_in_its_arguments_and_in_the_line_for_a_shell() {
    let settings = json!({"rule": [{
        "name": "no-push", "action": "exec", "match": {"argv": "git push*"}, "decision": "deny", "reason": "no",
        "denies": ["git push origin"], "allows": ["git status"],
    }]});
    check(settings.clone()).expect("is good");
    for argv in [json!(["git", "push", "x"]), json!(["sh", "-c", "git push x/y"]), json!(["GIT", "push"])] {
        let event = event("exec", "", json!({ "argv": argv }));
        assert_eq!(denied_by(&verdict(settings.clone(), &event)), Some("no-push"), "{argv}");
    }
}

#[test]
fn an_action_that_does_not_say_on_which_paths_is_a_fault() {
    for (kind, details) in [
        ("file-write", json!({"operation": "remove"})),
        ("file-write", json!({"operation": "remove", "path": null})),
        ("file-read", json!({"operation": "read", "paths": [{}]})),
        ("commit", json!({"branch": "b", "message": "m"})),
        ("push", json!({"changes": [{"kind": "added"}]})),
    ] {
        let evaluated = Host::new().evaluate::<Rules>(&event(kind, "", details.clone()));
        assert!(evaluated.is_err(), "{kind} {details}");
    }
}

#[test]
fn all_conditions_must_hold_and_an_absent_value_holds_none() {
    let settings = json!({"rule": [{
        "name": "late", "action": "*", "match": {"facts.phase": "work", "actor": "tool:*"}, "decision": "deny", "reason": "no",
    }]});
    assert_eq!(verdict(settings.clone(), &write("a")).decision, Decision::Abstain);
    let tool = |facts| {
        Event::new("d", "tool:shell", "exec", "x", json!({"argv": ["x"]}), facts).expect("is an event")
    };
    assert_eq!(denied_by(&verdict(settings.clone(), &tool(json!({"phase": "work"})))), Some("late"));
    assert_eq!(verdict(settings, &tool(json!({}))).decision, Decision::Abstain);
}

#[test]
fn an_example_that_does_not_come_out_as_said_names_rule_and_example() {
    let rule = |allows: Value, denies: Value| {
        json!({"rule": [{
            "name": "docs", "action": ["file-write", "commit"], "match": {"path": "docs/**"}, "decision": "deny",
            "reason": "no", "allows": allows, "denies": denies,
        }]})
    };
    check(rule(json!(["src/a"]), json!(["docs/a"]))).expect("is good");
    for (settings, example) in
        [(rule(json!(["docs/b"]), json!([])), "docs/b"), (rule(json!([]), json!(["src/b"])), "src/b")]
    {
        let message = check(settings).expect_err("is wrong").message;
        assert!(message.contains("`docs`") && message.contains(example), "{message}");
    }
}

#[test]
fn more_rules_or_patterns_than_can_be_matched_in_time_are_refused() {
    let rule = |name: String, targets: usize| json!({"name": name, "action": "push", "match": {"target": vec!["x"; targets]}, "decision": "deny", "reason": "no"});
    check(json!({"rule": [rule("r".into(), 1000)]})).expect("is good");
    assert!(check(json!({"rule": [rule("r".into(), 1001)]})).is_err());
    let many: Vec<_> = (0..1001).map(|n| rule(n.to_string(), 1)).collect();
    assert!(check(json!({ "rule": many })).is_err());
}

#[test]
fn settings_that_would_never_match_or_cannot_be_read_are_refused_by_name() {
    let rule = |extra: Value| {
        let mut rule = json!({"name": "r", "action": "push", "decision": "deny", "reason": "no"});
        rule.as_object_mut().expect("is one").extend(extra.as_object().expect("is one").clone());
        json!({"rule": [rule]})
    };
    for (settings, named) in [
        (rule(json!({"action": "pusch"})), "pusch"),
        (rule(json!({"action": []})), "action"),
        (rule(json!({"match": {"refrence": "x"}})), "refrence"),
        (rule(json!({"match": {"facts.phaze": "x"}})), "phaze"),
        (rule(json!({"match": {"target": "a{b"}})), "a{b"),
        (rule(json!({"match": {"target": []}})), "target"),
        (rule(json!({"action": "*", "match": {"argv": "x"}})), "argv"),
        (rule(json!({"decision": "maybe"})), "maybe"),
        (rule(json!({"mach": {}})), "mach"),
        (json!({"rules": []}), "rules"),
        (json!({"disable": ["nothing"]}), "nothing"),
        (rule(json!({"name": "protected-branches"})), "protected-branches"),
    ] {
        let message = check(settings).expect_err(named).message;
        assert!(message.contains(named), "{message} does not name {named}");
    }
}
