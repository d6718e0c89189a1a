//! Network rules as an agent's command meets them: in the sandbox, through
//! the proxy.

use serde_json::json;

use crate::mirror::{Mirror, has, learn};
use crate::support::{FIX, Ran, Site, finish, shell_script};

/// A server of two files, `word` and `large`.
fn server(site: &Site) -> Mirror {
    let folder = site.path().join("server");
    std::fs::create_dir(&folder).expect("a folder is made");
    std::fs::write(folder.join("word"), "from the server\n").expect("a file is written");
    std::fs::write(folder.join("large"), vec![b'x'; 3_000_000]).expect("a file is written");
    Mirror::of(folder)
}

#[test]
fn methods_of_a_rule_hold_for_the_agents_commands() {
    if !has(&["curl"]) {
        return eprintln!("skipped: curl does not run");
    }
    let site = Site::new();
    let server = server(&site);
    let address = server.address;
    let rule = format!("GET+HEAD@{address}");
    let plain = format!("curl -sS -m 300 http://{address}/word");
    // in what it says otherwise a port may have any digits
    let through = "curl -sS -m 300 -o /dev/null -w 'answered %{http_connect}'";
    let commands = [
        plain.clone(),
        format!("curl -sS -m 300 --head http://{address}/word"),
        format!("{plain} --data secret"),
        format!("{plain} --request get"),
        format!("{through} https://{address}/word"),
        format!("{through} --proxytunnel http://{address}/word"),
    ];
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let ran = Ran::of(site.scripted(&shell_script(&commands)).args(["--network", &rule]));
    let results: Vec<_> = ran.of_type("tool.ended").filter_map(|event| event["content"].as_str()).collect();
    let said = |number: usize| results.get(number).copied().unwrap_or_default();
    assert!(said(0).contains("from the server"), "{results:#?}\n{}", ran.stderr);
    assert!(said(1).contains("200 OK"), "{results:#?}");
    // the command is told why, and by which rule
    let other =
        format!("the network rule of this phase is `{rule}`, which names other methods for this host");
    for number in [2, 3] {
        assert!(said(number).contains(&other), "{results:#?}");
    }
    for number in [4, 5] {
        assert!(said(number).contains("answered 403"), "{results:#?}");
    }
    let methods: Vec<_> = server
        .seen()
        .iter()
        .map(|request| request.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(methods, ["GET", "HEAD"]);
    // and so is the user, with what would allow it
    let refused = ran.report()["refused"].as_array().expect("a list").clone();
    let reason = |text: &str| {
        refused.iter().find(|refusal| refusal["reason"].as_str().is_some_and(|reason| reason.contains(text)))
    };
    let posted = reason(&other).unwrap_or_else(|| panic!("{refused:#?}"));
    assert_eq!(posted["action"], format!("network-connect {address}"));
    let remedy = posted["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains(&format!("--network {rule},POST@{address}`")), "{remedy}");
    let tunnel =
        format!("`{rule}`, which names methods for this host; a tunnel (CONNECT, as for https) hides them");
    assert!(reason(&tunnel).is_some(), "{refused:#?}");
}

#[test]
fn what_would_allow_a_connection_and_what_is_learnt_of_it_is_the_environments_own_rule() {
    if !has(&["curl"]) {
        return eprintln!("skipped: curl does not run");
    }
    let site = Site::new();
    let address = server(&site).address;
    let run = |rule: &str| {
        let settings = format!(
            "# mine\n[network]\nsetup = \"{address}\"\n[environments.\"ci 2\"]\nsetup = [\"curl -sS http://{address}/word \
             || true\"]\n[environments.\"ci 2\".network]\nsetup = \"{rule}\"\n"
        );
        site.aside("config.toml", settings);
        Ran::of(site.scripted(&finish("done")).args(["--env", "ci 2"]))
    };
    let refused = run("none");
    let remedy =
        format!("`environments.\"ci 2\".network.setup = \"{address}\"` in the settings would allow it");
    let told = refused.report()["refused"][0]["remedy"].as_str().unwrap_or_default().to_owned();
    assert!(told.starts_with(&remedy), "{told}\n{}", refused.stderr);
    // `all` has no addresses of this machine's own, so the rule names more than is contacted
    let let_through = run(&format!("{address},b.example"));
    assert_eq!(let_through.of_type("task.started").next().expect("it began")["environment"], "ci 2");
    let lines = format!("[environments.\"ci 2\".network]\nsetup = \"{address}\"\n");
    assert_eq!(learn(&site, &[]), lines);
    assert_eq!(learn(&site, &["--write"]), lines);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("it is there");
    assert!(settings.starts_with("# mine\n[network]\n") && settings.ends_with(&lines), "{settings}");
    assert!(!settings.contains("b.example"), "{settings}");
    // nobody else's settings are written to, nor is a rule that would not count
    site.aside("organisation.toml", settings);
    site.aside("config.toml", "");
    let output = site.sortie().args(["env", "learn", "--write"]).output().expect("sortie runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the organisation's settings say what"), "{said}");
    assert_eq!(std::fs::read_to_string(site.path().join("config.toml")).expect("it is there"), "");
}

#[test]
fn what_a_repository_says_of_rules_and_network_tightens_and_grants_nothing() {
    if !has(&["curl"]) {
        return eprintln!("skipped: curl does not run");
    }
    let site = Site::new();
    let server = server(&site);
    let address = server.address;
    let own = std::fs::read_to_string(site.clone().join(".sortie/config.toml")).expect("it is there");
    let rule = |name: &str, action: &str, matches: &str, decision: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\naction = \"{action}\"\nmatch = {{ {matches} }}\ndecision = \"{decision}\"\n\
             reason = \"theirs\"\n"
        )
    };
    let rules = [
        rule("no-background", "exec", "background = \"true\"", "deny"),
        rule("private", "file-read", "path = \"private\"", "deny"),
        rule("mine", "push", "target = \"refs/heads/fixed\"", "allow"),
    ];
    site.write(".sortie/config.toml", format!("{own}[network]\nagent = \"none\"\n{}", rules.concat()));
    site.write("private", "between us\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Rules"]);
    let call = |arguments| json!({ "tool_calls": [{ "name": "shell", "arguments": arguments }] });
    let look = format!("cat private; curl -sS -m 300 http://{address}/word");
    let script = json!({ "replies": [
        call(json!({ "command": "sleep 1000", "background": true })),
        call(json!({ "command": look })),
        finish("done"),
    ] });
    // the operator would let all of it pass
    let ran = Ran::of(site.scripted(&script).args(["--network", &address.to_string()]));
    assert_eq!(ran.code, Some(0), "{:#}", ran.report());
    let told = ran.tool_results();
    assert!(told.contains("refused by repository (rule `no-background`)"), "{told}");
    assert!(told.contains("cat: private: Permission denied") && !told.contains("between us"), "{told}");
    let of_network = "refused by repository (rule `network.agent`): the repository's own rule is `none`";
    assert!(told.contains(of_network), "{told}");
    assert!(server.seen().is_empty());
    // an operator's rule that allows some pushes has the gate asked once all is known
    let docs = rule("docs", "push", "target = \"refs/heads/fixed\", path = \"docs/**\"", "allow");
    site.aside("config.toml", docs);
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--branch", "fixed"]));
    assert_eq!((ran.code, ran.of_type("tool.ended").count()), (Some(3), 1), "{:#}", ran.report());
    assert_eq!(ran.report()["refused"][0]["policy"], "default");
}

#[test]
fn what_the_settings_let_a_task_receive_is_all_that_it_receives() {
    if !has(&["curl"]) {
        return eprintln!("skipped: curl does not run");
    }
    let site = Site::new();
    let address = server(&site).address;
    site.aside("config.toml", "[network]\nmax_mb = 1\n");
    let fetch = format!("curl -sS -m 300 -o large http://{address}/large; wc -c < large");
    let again = format!("curl -sS -m 300 http://{address}/word");
    let ran =
        Ran::of(site.scripted(&shell_script(&[&fetch, &again])).args(["--network", &address.to_string()]));
    assert_eq!(ran.report()["refused"][0]["rule"], "max-bytes", "{:#}\n{}", ran.report(), ran.tool_results());
    let received = ran.report()["network"]["received"].as_u64().expect("it is counted");
    // what the proxy had read when it was enough counts as well
    assert!((1 << 20..2_500_000).contains(&received), "{received}");
    assert!(!ran.tool_results().contains("from the server"), "{}", ran.tool_results());
}
