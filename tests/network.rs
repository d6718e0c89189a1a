//! Network rules as an agent's command meets them: in the sandbox, through
//! the proxy.

use crate::mirror::{Mirror, has};
use crate::support::{Ran, Site, shell_script};

#[test]
fn methods_of_a_rule_hold_for_the_agents_commands() {
    if !has(&["curl"]) {
        return eprintln!("skipped: curl does not run");
    }
    let site = Site::new();
    let folder = site.path().join("server");
    std::fs::create_dir(&folder).expect("a folder is made");
    std::fs::write(folder.join("word"), "from the server\n").expect("a file is written");
    let server = Mirror::of(folder);
    let address = server.address;
    let rule = format!("GET+HEAD@{address}");
    let plain = format!("curl -sS -m 20 http://{address}/word");
    let commands = [
        plain.clone(),
        format!("curl -sS -m 20 --head http://{address}/word"),
        format!("{plain} --data secret"),
        format!("{plain} --request get"),
        format!("curl -sS -m 20 https://{address}/word 2>&1"),
        format!("curl -sS -m 20 --proxytunnel http://{address}/word 2>&1"),
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
        assert!(said(number).contains("403"), "{results:#?}");
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
