//! Set-up is done once, and never for ever.

use serde_json::{Value, json};

use super::{MAKE, environment, nothing, passed, site, steps};
use crate::support::{Ran, shell_script};

#[test]
fn a_second_task_takes_up_what_the_set_up_of_the_first_made() {
    let site = site(&environment(&[MAKE]));
    let first = Ran::of(&mut site.scripted(&nothing()));
    passed(&first);
    assert_eq!((steps(&first, "install").len(), steps(&first, "snapshot").len()), (1, 0));
    assert_eq!(steps(&first, "workspace"), ["sandbox, for set-up", "sandbox"], "each is begun in the open");
    let look = "cat made/thing; git status --short; ls .git/refs";
    let second = Ran::of(&mut site.scripted(&shell_script(&[look])));
    passed(&second);
    assert_eq!((steps(&second, "install").len(), steps(&second, "snapshot").len()), (0, 1));
    assert!(second.tool_results().starts_with("thing\n"), "{}", second.tool_results());
    // what set-up made is no part of a change, whoever made it
    assert_eq!(second.report()["branch"], Value::Null);
}

#[test]
fn a_task_cannot_change_what_the_next_one_takes_up() {
    let site = site(&environment(&[MAKE]));
    let spoil = "echo spoilt > made/thing; echo spoilt > ~/mark; echo new > made/new; cat made/thing";
    for installs in [1, 0] {
        let ran = Ran::of(&mut site.scripted(&shell_script(&["cat made/thing ~/mark; ls made", spoil])));
        passed(&ran);
        assert_eq!(steps(&ran, "install").len(), installs);
        let seen = ran.of_type("tool.ended").next().expect("a call")["content"].to_string();
        assert!(seen.starts_with("\"thing\\nmark\\n"), "{seen}");
        assert!(!seen.contains("spoilt") && !seen.contains("new"), "{seen}");
    }
}

#[test]
fn another_lock_file_command_variable_or_repository_is_another_set_up_and_caches_are_kept() {
    let with_cache =
        |setup: &str| format!("[environment]\nsetup = [{}]\ncache = [\"~/cache\", \"kept\"]\n", json!(setup));
    let make = "mkdir -p made kept ~/cache; echo thing > made/thing; echo mark > ~/mark; \
                echo before: $(cat kept/n ~/cache/n); echo 1 > kept/n; echo 2 > ~/cache/n";
    let site = site(&with_cache(make));
    let installs = |ran: &Ran| {
        passed(ran);
        steps(ran, "install").len()
    };
    passed(&Ran::of(&mut site.scripted(&nothing())));
    site.write("package-lock.json", "{ \"lockfileVersion\": 3 }\n");
    site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Lock"]);
    let locked = Ran::of(&mut site.scripted(&nothing()));
    assert_eq!((installs(&locked), steps(&locked, "cache").len()), (1, 1));
    let said = locked.of_type("progress").map(|event| event["text"].to_string()).collect::<String>();
    assert!(said.contains("before: 1 2"), "{said}");
    // a file that does not matter to it
    site.write("README.md", "hello\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Read me"]);
    assert_eq!(installs(&Ran::of(&mut site.scripted(&nothing()))), 0);
    let changed = format!("{make}; true");
    for (command, variables) in [(make, "[environment.variables]\nA = \"b\"\n"), (changed.as_str(), "")] {
        let environment = with_cache(command);
        let settings = format!("[test]\ncommand = [\"sh\", \"test.sh\"]\n{environment}{variables}");
        site.write(".sortie/config.toml", settings);
        site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Settings"]);
        assert_eq!(installs(&Ran::of(&mut site.scripted(&nothing()))), 1, "{command} {variables}");
    }
    // the same commits under another name are somebody else's
    let other = site.path().join("other");
    site.git(site.path(), &["clone", "--quiet", "clone", "other"]);
    let mut command = site.sortie();
    let script = site.path().join("script.json");
    command.args(["run", "x", "--json", "--repo"]).arg(&other);
    command.arg("--model").arg(format!("scripted:{}", script.display()));
    let ran = Ran::of(&mut command);
    assert_eq!((installs(&ran), steps(&ran, "cache").len()), (1, 0));
}

#[test]
fn a_set_up_that_may_contact_others_is_another_one() {
    // it gets on without what it is refused
    let site = site(&environment(&[MAKE, "curl -sf http://a.example/ || true"]));
    let installs = || {
        let ran = Ran::of(&mut site.scripted(&nothing()));
        passed(&ran);
        steps(&ran, "install").len()
    };
    for (rule, ran) in [("none", 2), ("b.example", 2), ("b.example", 0), ("none", 0)] {
        site.aside("config.toml", format!("[network]\nsetup = \"{rule}\"\n"));
        assert_eq!(installs(), ran, "{rule}");
    }
    // and if it is the repository that says so
    let settings = std::fs::read_to_string(site.clone().join(".sortie/config.toml")).expect("it is there");
    for (rule, ran) in [("none", 2), ("b.example", 2), ("none", 0)] {
        site.write(".sortie/config.toml", format!("{settings}[network]\nsetup = \"{rule}\"\n"));
        site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Rule"]);
        assert_eq!(installs(), ran, "the repository's {rule}");
    }
}

#[test]
fn what_a_rule_forbids_to_read_is_not_taken_up_from_a_set_up_that_could_read_it() {
    let site = site(&environment(&[MAKE, "cat private >> made/thing || true"]));
    site.write("private", "between us\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Private"]);
    let look = shell_script(&["cat made/thing"]);
    let before = Ran::of(&mut site.scripted(&look));
    passed(&before);
    assert!(before.tool_results().contains("between us"), "{}", before.tool_results());
    let rule = "[[rule]]\nname = \"private\"\naction = \"file-read\"\nmatch = { path = \"private\" }\n\
                decision = \"deny\"\nreason = \"private\"\n";
    site.aside("config.toml", rule);
    let after = Ran::of(&mut site.scripted(&look));
    passed(&after);
    assert!(!after.tool_results().contains("between us"), "{}", after.tool_results());
}

#[test]
fn caches_of_a_set_up_under_other_rules_are_not_taken() {
    let look = "mkdir -p made ~/cache; echo thing > made/thing; echo mark > ~/mark; echo before: $(cat ~/cache/seen); \
                cat private > ~/cache/seen || true";
    let site = site(&format!("{}cache = [\"~/cache\"]\n", environment(&[look])));
    site.write("private", "between us\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Private"]);
    passed(&Ran::of(&mut site.scripted(&nothing())));
    let rule = "[[rule]]\nname = \"private\"\naction = \"file-read\"\nmatch = { path = \"private\" }\n\
                decision = \"deny\"\nreason = \"private\"\n";
    site.aside("config.toml", rule);
    let after = Ran::of(&mut site.scripted(&shell_script(&["cat ~/cache/seen"])));
    passed(&after);
    assert_eq!(steps(&after, "install").len(), 1);
    let all = after.events.iter().map(ToString::to_string).collect::<String>();
    assert!(!all.contains("between us"), "{}", after.tool_results());
}

#[test]
fn set_up_that_changes_a_file_of_the_repository_is_not_kept() {
    let site = site(&environment(&[MAKE, "echo '// changed' >> package-lock.json"]));
    for _ in 0..2 {
        let ran = Ran::of(&mut site.scripted(&nothing()));
        passed(&ran);
        assert_eq!(steps(&ran, "install").len(), 2);
        let kept = ran.of_type("step.ended").find(|event| event["step"] == "keep").expect("it was tried");
        assert!(kept["detail"].to_string().contains("set-up changed `package-lock.json`"), "{kept}");
    }
}

#[test]
fn nothing_is_kept_where_settings_want_that_nor_of_a_guess_that_failed() {
    let unwanted = site(&environment(&[MAKE]));
    unwanted.aside("config.toml", "[snapshots]\nenabled = false\n");
    let guessed = site("");
    guessed.write("go.mod", "this is none\n");
    guessed.write("test.sh", "echo '1 passed'\n");
    guessed.git(&guessed.clone(), &["add", "--all"]);
    guessed.git(&guessed.clone(), &["commit", "--quiet", "--message", "Module"]);
    for site in [unwanted, guessed] {
        for _ in 0..2 {
            let ran = Ran::of(&mut site.scripted(&nothing()));
            passed(&ran);
            assert_eq!((steps(&ran, "install").len(), steps(&ran, "keep").len()), (1, 0), "{}", ran.stderr);
        }
        assert!(!site.path().join("home/snapshots").exists());
    }
}

#[test]
fn a_repository_may_name_the_branch_that_tasks_start_from_and_a_flag_goes_before_it() {
    let site = site(&format!("{}base = \"develop\"\n", environment(&[MAKE])));
    site.git(&site.clone(), &["checkout", "--quiet", "-b", "develop"]);
    site.write("developed", "yes\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Develop"]);
    let developed = site.git(&site.clone(), &["rev-parse", "develop"]);
    site.git(&site.clone(), &["checkout", "--quiet", "main"]);
    let ran = Ran::of(&mut site.scripted(&shell_script(&["ls; echo new > new"])));
    passed(&ran);
    assert!(ran.tool_results().contains("developed"), "{}", ran.tool_results());
    let branch = ran.report()["branch"].as_str().expect("a branch");
    assert_eq!(site.git(&site.origin(), &["rev-parse", &format!("{branch}^")]), developed);
    let ran = Ran::of(site.scripted(&shell_script(&["ls"])).args(["--base", "main"]));
    assert!(!ran.tool_results().contains("developed"), "{}", ran.tool_results());
}

#[test]
fn maintenance_runs_before_each_task_and_is_not_kept() {
    let setup =
        format!("{}maintenance = [\"echo $((1 + $(cat count || echo 0))) > count\"]\n", environment(&[MAKE]));
    let site = site(&setup);
    for _ in 0..3 {
        let ran = Ran::of(&mut site.scripted(&shell_script(&["cat count"])));
        passed(&ran);
        assert!(ran.tool_results().starts_with('1'), "{}", ran.tool_results());
    }
}

#[test]
fn a_repository_gives_its_set_up_no_longer_than_an_operator_does() {
    for seconds in [0, 1000] {
        let limits = format!("[environment.limits]\nidle_seconds = {seconds}\n");
        let site = site(&format!("{}{limits}", environment(&["sleep 600; exit 1"])));
        site.aside("config.toml", "[limits]\nidle_seconds = 1\n");
        let ran = Ran::of(&mut site.scripted(&nothing()));
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.contains("limits reached: idle_timeout_ms = 1000"), "{seconds}: {why}");
    }
}

#[test]
fn set_up_that_hangs_fails_floods_or_wants_a_terminal_ends_with_its_last_lines_and_can_be_entered() {
    // each says what is not in the command itself, which the summary quotes
    for (command, said, idle) in [
        ("echo wait''ing; sleep 1000", "waiting", 15),
        ("echo broken >&2; exit 3", "exit status 3\nbroken", 300),
        ("yes flood | head -c 50000000; echo the e''nd; exit 1", "the end", 300),
        (
            "stty size </dev/tty; read -r answer && echo \"got $answer\"; echo nobody ans''wered; false",
            "nobody answered",
            300,
        ),
    ] {
        let limits = format!("[environment.limits]\nidle_seconds = {idle}\n");
        let settings = environment(&["mkdir made", command]) + &limits;
        let site = site(&settings);
        let mut run = site.scripted(&nothing());
        let ran = Ran::of(run.arg("--keep"));
        assert_eq!(ran.report()["outcome"], "failed", "{command}: {}", ran.stderr);
        let why = ran.report()["summary"].as_str().expect("a summary");
        let named = format!("set-up failed: `{command}`: ");
        assert!(why.starts_with(&named) && why.contains(said), "{command}: {why}");
        let task = ran.report()["task"].as_str().expect("an id");
        let entered = site.sortie().args(["shell", task, "--", "ls", "-d", "made"]).output().expect("runs");
        assert_eq!(
            String::from_utf8_lossy(&entered.stdout).trim(),
            "made",
            "{}",
            String::from_utf8_lossy(&entered.stderr)
        );
    }
}

#[test]
fn what_the_sandbox_has_not_is_said_with_what_has_it() {
    for (environment, what) in [
        ("[environment]\nsetup = [\"true\"]\nsetup_root = true\n", "set-up as root"),
        ("[environment]\nbuild = { dockerfile = \"Dockerfile\" }\n", "a Dockerfile"),
        ("[[environment.service]]\nname = \"db\"\nimage = \"db:1\"\n", "services"),
    ] {
        let ran = Ran::of(&mut site(environment).scripted(&nothing()));
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.contains(&format!("asks for {what}")) && why.contains("--workspace docker"), "{why}");
    }
}
