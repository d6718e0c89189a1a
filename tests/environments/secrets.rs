//! Secrets are for the commands of set-up, and leave no trace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{MAKE, environment, passed, site, steps};
use crate::support::{Ran, Site, shell_script, until};

/// What was found, unless somebody removed it meanwhile.
fn unless_gone<T>(found: std::io::Result<T>) -> Option<T> {
    match found {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        found => Some(found.expect("is read")),
    }
}

/// Files in a folder that hold a text in their bytes, names or link targets.
pub(crate) fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    assert!(folder.is_dir(), "{}", folder.display());
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in unless_gone(std::fs::read_dir(&folder)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let Some(kind) = unless_gone(path.symlink_metadata()).map(|found| found.file_type()) else {
                continue;
            };
            let bytes = if kind.is_symlink() {
                unless_gone(path.read_link()).map(|target| target.into_os_string().into_encoded_bytes())
            } else if kind.is_file() {
                unless_gone(std::fs::read(&path))
            } else {
                None
            };
            let bytes = bytes.unwrap_or_default();
            let named = path.to_string_lossy().contains(text);
            if named || bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.clone());
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Raw, in base64 at each of its three places, and URL-encoded.
pub(super) const SECRET: &str = "s3cr3t/v4lue+of=ours?";
pub(super) const FORMS: [&str; 5] = [
    "s3cr3t/v4lue+of=ours?",
    "czNjcjN0L3Y0bHVlK29mPW91cnM",
    "M2NyM3QvdjRsdWUrb2Y9b3Vyc",
    "zY3IzdC92NGx1ZStvZj1vdXJzP",
    "s3cr3t%2Fv4lue%2Bof%3Dours%3F",
];

/// With an environment of the user's that binds a secret.
pub(super) fn with_secret(setup: &[&str]) -> (Site, Value) {
    let site = site("");
    let settings = format!(
        "environment = \"ours\"\n[environments.ours]\nsetup = {}\n[environments.ours.secrets]\nTOKEN = {{ env = \"OUR_TOKEN\" }}\n",
        json!(setup)
    );
    site.aside("config.toml", settings);
    (site, shell_script(&["env; cat /proc/*/environ | tr '\\0' '\\n'; ps ax; cat made/* ~/*"]))
}

fn with_token(site: &Site, script: &Value) -> Ran {
    Ran::of(site.scripted(script).env("OUR_TOKEN", SECRET))
}

#[test]
fn a_secret_of_set_up_is_there_for_its_commands_and_nowhere_afterwards() {
    let used = "test ${#TOKEN} = 21 && printf %s \"$TOKEN\" | cksum > made/sum";
    let shown = "echo \"$TOKEN\"; printf 'user:%s' \"$TOKEN\" | base64 -w0; echo; printf 'a%s' \"$TOKEN\" | base64; \
                 printf %s \"$TOKEN\" | sed 's,/,%2F,; s,+,%2B,; s,=,%3D,; s,?,%3F,'; echo; (sleep 300 &) ; \
                 setsid sleep 300 & true";
    let (site, script) = with_secret(&[MAKE, used, shown]);
    let ran = with_token(&site, &script);
    passed(&ran);
    assert!(site.path().join("home/snapshots").read_dir().expect("is listed").count() == 1);
    let printed = format!("{}{}", ran.stderr, ran.events.iter().map(Value::to_string).collect::<String>());
    assert!(printed.contains("\"****\""), "it is printed, masked: {printed}");
    for form in FORMS {
        assert!(!printed.contains(form), "{form} was printed");
        assert_eq!(holding(&site.path().join("home"), form), Vec::<PathBuf>::new(), "{form}");
    }
    // archives are compressed
    let task = ran.report()["task"].as_str().expect("an id").to_owned();
    let restored = site.path().join("restored");
    let output = site.sortie().args(["archive", "restore", &task]).arg(&restored).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = site.sortie().args(["logs", &task, "--json"]).output().expect("runs").stdout;
    for form in FORMS {
        assert_eq!(holding(&restored, form), Vec::<PathBuf>::new(), "{form}");
        assert!(!String::from_utf8_lossy(&log).contains(form), "{form}");
    }
    let second = with_token(&site, &script);
    passed(&second);
    assert_eq!(steps(&second, "install").len(), 0);
    assert!(!second.tool_results().contains("TOKEN="), "{}", second.tool_results());
}

#[test]
fn a_secret_that_set_up_leaves_ends_the_task_before_anybody_sees_it() {
    for (leave, place) in [
        ("echo \"token = $TOKEN\" > ~/.npmrc", "~/.npmrc"),
        ("mkdir -p made/deep; printf 'x:%s' \"$TOKEN\" | base64 -w0 > made/deep/auth", "made/deep/auth"),
        ("ln -s \"$TOKEN\" made/link", "made/link"),
        ("printf %s \"$TOKEN\" | sed 's,/,%2F,; s,+,%2B,; s,=,%3D,; s,?,%3F,' > made/url", "made/url"),
    ] {
        let (site, script) = with_secret(&[MAKE, leave]);
        let ran = with_token(&site, &script);
        assert_eq!(
            (ran.code, ran.report()["outcome"].as_str()),
            (Some(5), Some("failed")),
            "{leave}: {}",
            ran.stderr
        );
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.starts_with(&format!("set-up left the secret `TOKEN` in {place}")), "{why}");
        assert_eq!(ran.of_type("tool.started").count(), 0);
        assert!(!site.path().join("home/snapshots").exists(), "nothing of it is kept");
        nothing_is_left(&site, &ran);
    }
}

#[test]
fn a_secret_that_became_a_path_a_branch_an_attribute_or_a_line_of_a_file_ends_the_task() {
    const PATH: &str = "s3cr3t/v4lue";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFoo1234\nq83vEjRWeJCrze8SNFZ4kKvN\n\
                       7xI0Vg==\n-----END PRIVATE KEY-----\n";
    let attribute = "touch made/x; python3 -c 'import os; \
                     os.setxattr(\"made/x\", \"user.origin\", os.environ[\"TOKEN\"].encode())'";
    for (secret, leave, place) in [
        (PATH, "mkdir -p \"made/$TOKEN\"", "made/s3cr3t/v4lue"),
        (PATH, "mkdir -p \"$HOME/$TOKEN\"", "~/****"),
        (
            PATH,
            "git init --quiet; git -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m a; \
                git branch \"$TOKEN\"; git pack-refs --all",
            ".git/packed-refs",
        ),
        (PATH, attribute, "made/x"),
        (KEY, "echo \"$TOKEN\" | sed -n 4p > made/line", "made/line"),
    ] {
        if leave == attribute && !has_attributes() {
            eprintln!("not tested: this file system has no extended attributes, or there is no Python");
            continue;
        }
        let (site, script) = with_secret(&[MAKE, leave]);
        let ran = Ran::of(site.scripted(&script).env("OUR_TOKEN", secret));
        assert_eq!(ran.code, Some(5), "{leave}: {}", ran.stderr);
        let why = ran.report()["summary"].as_str().expect("a summary");
        let place = place.replace(PATH, "****");
        let left = why.strip_prefix("set-up left the secret `TOKEN` in ").expect(why);
        let left = left.split(": the agent").next().unwrap_or_default();
        assert!(left.split(", ").any(|path| path == place), "{leave}: {why}");
        assert_eq!(ran.of_type("tool.started").count(), 0);
        let task = ran.report()["task"].as_str().expect("an id");
        assert!(!site.path().join("home/tasks").join(task).join("workspace").exists());
    }
}

#[test]
fn a_folder_that_is_called_like_a_secret_is_named_to_nobody_where_it_cannot_be_looked_through() {
    let deep = "mkdir -p \"$TOKEN\"; cd \"$TOKEN\"; for n in $(seq 250); do mkdir d; cd d; done";
    let (site, script) = with_secret(&[MAKE, deep]);
    let ran = with_token(&site, &script);
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(5), Some("failed")), "{}", ran.stderr);
    let why = ran.report()["summary"].as_str().expect("a summary");
    assert!(why.contains("cannot look through `****/d/d") && why.ends_with("too many folders"), "{why}");
    let printed = format!("{}{}", ran.stderr, ran.events.iter().map(Value::to_string).collect::<String>());
    for form in FORMS {
        assert!(!printed.contains(form), "{form} was printed");
    }
    nothing_is_left(&site, &ran);
}

fn has_attributes() -> bool {
    let ground = tempfile::tempdir().expect("a folder");
    let set = "import os, sys; os.setxattr(sys.argv[1], \"user.x\", b\"x\")";
    let tried = std::process::Command::new("python3").args(["-c", set]).arg(ground.path()).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Of the secret, nor of the workspace in which it was.
fn nothing_is_left(site: &Site, ran: &Ran) {
    for form in FORMS {
        assert_eq!(holding(&site.path().join("home"), form), Vec::<PathBuf>::new(), "{form}");
    }
    let archives = site.path().join("home/archives");
    assert!(!archives.exists() || archives.read_dir().expect("is listed").count() == 0);
    let task = ran.report()["task"].as_str().expect("an id");
    assert!(!site.path().join("home/tasks").join(task).join("workspace").exists());
}

#[test]
fn a_set_up_that_fails_with_a_secret_in_a_file_leaves_no_workspace_to_find_it_in() {
    for end in ["exit 1", "sleep 1000"] {
        let (site, script) = with_secret(&[&format!("echo \"$TOKEN\" | tee token; {end}")]);
        let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
        site.aside("config.toml", format!("{settings}[environments.ours.limits]\nidle_seconds = 1\n"));
        let ran = Ran::of(site.scripted(&script).arg("--keep").env("OUR_TOKEN", SECRET));
        assert_eq!(ran.report()["outcome"], "failed", "{}", ran.stderr);
        nothing_is_left(&site, &ran);
    }
}

#[test]
fn a_host_that_is_killed_in_set_up_leaves_no_secret_in_what_it_had_written() {
    let (site, script) =
        with_secret(&["echo \"$TOKEN\" > ~/token; echo \"$TOKEN\" > token; echo written; sleep 1000"]);
    let mut host = site.scripted(&script);
    let mut host = host.env("OUR_TOKEN", SECRET).stdout(Stdio::piped()).spawn().expect("starts");
    let mut events = BufReader::new(host.stdout.take().expect("piped"));
    let mut line = String::new();
    while !(line.contains("progress") && line.contains("written")) {
        line.clear();
        assert!(events.read_line(&mut line).expect("is read") > 0, "it ended");
    }
    let home = site.path().join("home");
    assert!(!holding(&home, SECRET).is_empty());
    host.kill().expect("is killed");
    host.wait().expect("is gone");
    // what ran in the sandbox may take a moment to end
    until("no file holds it", || {
        assert!(site.sortie().arg("list").output().expect("runs").status.success());
        holding(&home, SECRET).is_empty()
    });
}

#[test]
fn a_secret_that_set_up_takes_for_a_host_is_in_no_event() {
    const HEX: &str = "0b9c4e7a11d2f3586a7e";
    let (site, script) = with_secret(&[MAKE, "git ls-remote \"https://$TOKEN.example/x\" || true"]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    site.aside("config.toml", format!("{settings}[network]\nsetup = \"none\"\n"));
    let ran = Ran::of(site.scripted(&script).env("OUR_TOKEN", HEX));
    passed(&ran);
    let refused = ran.report()["refused"].to_string();
    assert!(refused.contains("network-connect ****.example:443"), "{refused}");
    assert!(!ran.events.iter().any(|event| event.to_string().contains(HEX)));
    assert_eq!(holding(&site.path().join("home"), HEX), Vec::<PathBuf>::new());
}

#[test]
fn a_policy_may_keep_a_secret_from_set_up() {
    let (site, script) = with_secret(&[MAKE]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    let rule = "\n[[rule]]\nname = \"no-token\"\naction = \"secret-use\"\nmatch = { name = \"TOKEN\" }\n\
                decision = \"deny\"\nreason = \"not here\"\n";
    site.aside("config.toml", format!("{settings}{rule}"));
    let ran = with_token(&site, &script);
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(3), Some("refused")), "{}", ran.stderr);
    assert_eq!(ran.report()["refused"][0]["rule"], "no-token");
}

#[test]
fn what_an_operator_binds_is_not_given_to_the_set_up_that_a_repository_describes() {
    let site = site(&format!(
        "{}maintenance = [\"echo theirs >> made/thing\"]\n",
        environment(&[MAKE, "echo theirs > made/thing"])
    ));
    let settings = format!(
        "environment = \"ours\"\n[environments.ours]\nsetup = {}\n[environments.ours.secrets]\n\
         TOKEN = {{ env = \"OUR_TOKEN\" }}\n",
        json!([MAKE])
    );
    site.aside("config.toml", settings);
    let ran = with_token(&site, &shell_script(&["cat made/thing"]));
    passed(&ran);
    assert_eq!(steps(&ran, "install"), [MAKE]);
    assert!(ran.tool_results().starts_with("thing"), "{}", ran.tool_results());
}

#[test]
fn a_repository_names_secrets_and_is_given_none() {
    let site =
        site(&format!("{}secrets = [\"TOKEN\"]\n", environment(&[MAKE, "echo \"<$TOKEN>\" > made/token"])));
    let ran = Ran::of(site.scripted(&shell_script(&["cat made/token"])).env("TOKEN", SECRET));
    passed(&ran);
    assert!(ran.tool_results().starts_with("<>"), "{}", ran.tool_results());
    let warned =
        ran.of_type("warning").any(|event| event["text"].to_string().contains("nobody bound: TOKEN"));
    assert!(warned, "{}", ran.stderr);
}

#[test]
fn a_repository_chooses_nothing_that_is_given_an_operators_secret() {
    const STEAL: &str = "printf %s \"$TOKEN\" > stolen";
    let bind = "environment = \"ours\"\n[environments.ours.secrets]\nTOKEN = { env = \"OUR_TOKEN\" }\n";
    let site = site("");
    site.write("package.json", json!({ "scripts": { "install": STEAL } }).to_string());
    let own = format!("install = {}\n[test]\ncommand = [\"sh\", \"test.sh\"]\n", json!(STEAL));
    site.write(".sortie/config.toml", own);
    site.write("test.sh", "echo '1 passed'\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Install"]);
    // nobody but the repository says what runs
    site.aside("config.toml", bind);
    let script = shell_script(&["cat stolen"]);
    let env = |what: &str| {
        let mut command = site.sortie();
        command.args(["env", what, "--repo"]).arg(site.clone());
        command
    };
    for mut command in [site.scripted(&script), env("check"), env("build")] {
        let output = command.env("OUR_TOKEN", SECRET).output().expect("runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {told}");
        let why = "`ours` of the user's settings binds secrets and names no `setup`";
        assert!(told.contains(why) && told.contains("hint: `setup = "), "{command:?}: {told}");
    }
    assert!(!site.path().join("home/tasks").exists(), "no task began");
    // what the operator installs with is theirs, and goes before what the repository does
    site.aside("config.toml", format!("install = \"test ${{#TOKEN}} = 21\"\n{bind}"));
    let ran = with_token(&site, &script);
    passed(&ran);
    assert_eq!(steps(&ran, "install"), ["test ${#TOKEN} = 21"]);
    assert!(ran.tool_results().contains("No such file"), "{}", ran.tool_results());
    // without secrets it is the repository's to say
    let none = Ran::of(site.scripted(&script).args(["--env", "none"]));
    passed(&none);
    assert_eq!(steps(&none, "install"), [STEAL]);
}
