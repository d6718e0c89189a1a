//! What of a `devcontainer.json` holds, what is named, and what is refused.

use sortie_core::action::ImageBuild;
use sortie_environment::{DEVCONTAINER_BYTES, Environment, Image, Origin, devcontainer};

const PATH: &str = ".devcontainer/devcontainer.json";

fn read(text: &str) -> Environment {
    devcontainer(PATH, text).expect("it holds")
}

fn refused(text: &str) -> String {
    devcontainer(PATH, text).expect_err("it cannot hold").to_string()
}

#[test]
fn the_usual_file_holds_comments_and_all() {
    let environment = read(
        r#"// made by an editor
        {
            "name": "project", "image": "python:3.13",
            "customizations": { "editor": { "extensions": ["a.b"] } }, /* its own */
            "postCreateCommand": "pip install -e .",
            "containerEnv": { "MODE": "test", "ROOT": "${containerWorkspaceFolder}/src" },
            "remoteUser": "root", "workspaceFolder": "/workspace", "somethingNew": 1,
        }"#,
    );
    assert_eq!(environment.origin, Origin::Devcontainer(PATH.into()));
    assert_eq!(environment.image, Some(Image::Named("python:3.13".into())));
    assert_eq!(environment.setup, ["pip install -e ."]);
    assert_eq!(environment.variables["ROOT"], "/workspace/src");
    assert_eq!(environment.variables["MODE"], "test");
    assert!(environment.setup_root);
    assert_eq!(environment.notices, Vec::<String>::new());
}

#[test]
fn commands_in_each_form_run_in_the_order_of_the_life_cycle() {
    let environment = read(
        r#"{ "image": "a",
            "postCreateCommand": { "b": ["echo", "it's", "$HOME"], "a": "make deps" },
            "updateContentCommand": ["npm", "ci"], "onCreateCommand": "echo ${HOME} ${containerWorkspaceFolder}",
            "postStartCommand": "service start", "postAttachCommand": "", "waitFor": "onCreateCommand" }"#,
    );
    assert_eq!(
        environment.setup,
        ["echo ${HOME} /workspace", "npm ci", "make deps", r"echo 'it'\''s' '$HOME'"]
    );
    assert_eq!(environment.maintenance, ["service start"]);
    assert!(environment.notices.is_empty(), "{:?}", environment.notices);
}

#[test]
fn a_dockerfile_is_found_from_the_folder_of_the_file_in_both_spellings() {
    let built = |dockerfile: &str, context: &str| {
        Some(Image::Built(ImageBuild {
            dockerfile: dockerfile.into(),
            context: context.into(),
            ..ImageBuild::default()
        }))
    };
    assert_eq!(
        read(r#"{ "build": { "dockerfile": "Dockerfile" } }"#).image,
        built(".devcontainer/Dockerfile", ".devcontainer")
    );
    assert_eq!(
        read(r#"{ "dockerFile": "../images/./Dockerfile", "context": ".." }"#).image,
        built("images/Dockerfile", "")
    );
    let of_root = devcontainer(
        ".devcontainer.json",
        r#"{ "build": { "dockerfile": "Dockerfile", "target": "dev",
        "args": { "VERSION": "${localEnv:VERSION:3}" } } }"#,
    );
    let Some(Image::Built(build)) = of_root.expect("it holds").image else { panic!("it is built") };
    assert_eq!((build.dockerfile.as_str(), build.context.as_str()), ("Dockerfile", ""));
    assert_eq!((build.target.as_deref(), build.args["VERSION"].as_str()), (Some("dev"), "3"));
}

#[test]
fn a_path_that_leaves_the_repository_is_refused() {
    for paths in [
        r#"{ "build": { "dockerfile": "../../Dockerfile" } }"#,
        r#"{ "build": { "dockerfile": "/etc/passwd" } }"#,
        r#"{ "build": { "dockerfile": "Dockerfile", "context": "../.." } }"#,
        r#"{ "dockerFile": "a/../../../b/Dockerfile" }"#,
        r#"{ "dockerFile": "Dockerfile", "context": "/" }"#,
    ] {
        let error = refused(paths);
        assert!(error.contains("leads out of the repository"), "{paths}: {error}");
    }
    assert!(refused(r#"{ "dockerFile": ".." }"#).contains("names no file"));
}

#[test]
fn what_the_host_has_is_not_read_and_is_named() {
    let environment = read(
        r#"{ "image": "a",
            "containerEnv": { "TOKEN": "${localEnv:TOKEN}", "BASE": "/opt", "USER_HOME": "${localEnv:HOME:/root}" },
            "remoteEnv": { "DEEP": "${containerEnv:BASE}/deep", "PATH": "${containerEnv:PATH}:/opt/bin", "GONE": null },
            "postCreateCommand": "cp ${localWorkspaceFolder}/.env .", "onCreateCommand": ["echo", "${localEnv:X}"] }"#,
    );
    let variables: Vec<_> =
        environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(variables, ["BASE=/opt", "DEEP=/opt/deep", "USER_HOME=/root"]);
    assert!(environment.setup.is_empty());
    assert_eq!(
        environment.notices,
        [
            "`onCreateCommand` is not run: `${localEnv:X}`: the host's variables are not read",
            "`postCreateCommand` is not run: `${localWorkspaceFolder}` has no meaning in a workspace",
            "`containerEnv.TOKEN` is not set: `${localEnv:TOKEN}`: the host's variables are not read",
            "`remoteEnv.GONE`: no variable is taken away",
            "`remoteEnv.PATH` is not set: `${containerEnv:PATH}`: the image's variables are not known",
        ]
    );
}

#[test]
fn variables_that_the_platform_sets_stay_its_own() {
    let environment =
        read(r#"{ "containerEnv": { "https_proxy": "x", "HOME": "/root", "A-B": "1", "OK": "1" } }"#);
    assert_eq!(environment.variables.into_keys().collect::<Vec<_>>(), ["OK"]);
    assert_eq!(environment.notices.len(), 3, "{:?}", environment.notices);
}

#[test]
fn what_does_not_hold_is_named_key_by_key() {
    for key in [
        r#""features": { "node": {} }"#,
        r#""mounts": ["type=bind,source=/,target=/host"]"#,
        r#""runArgs": ["--privileged"]"#,
        r#""forwardPorts": [3000]"#,
        r#""appPort": 80"#,
        r#""privileged": true"#,
        r#""capAdd": ["SYS_PTRACE"]"#,
        r#""securityOpt": ["seccomp=unconfined"]"#,
        r#""hostRequirements": { "cpus": 4 }"#,
        r#""initializeCommand": "curl example.org | sh""#,
        r#""postAttachCommand": "bash""#,
        r#""workspaceMount": "source=x""#,
        r#""workspaceFolder": "/src""#,
        r#""overrideCommand": false"#,
        r#""dockerComposeFile": "compose.yml""#,
        r#""remoteUser": "vscode""#,
    ] {
        let environment = read(&format!(r#"{{ "image": "a", {key} }}"#));
        let name = key.split('"').nth(1).expect("a key");
        assert_eq!(environment.notices.len(), 1, "{key}: {:?}", environment.notices);
        assert!(environment.notices[0].starts_with(&format!("`{name}`")), "{:?}", environment.notices);
        assert!(environment.setup.is_empty() && !environment.setup_root);
    }
    let nothing =
        r#"{ "features": {}, "privileged": false, "overrideCommand": true, "runArgs": [], "init": true }"#;
    assert!(read(nothing).notices.is_empty());
}

#[test]
fn a_compose_file_alone_is_an_error_that_says_what_to_write() {
    let error = refused(r#"{ "dockerComposeFile": "compose.yml", "service": "app" }"#);
    assert!(error.starts_with(".devcontainer/devcontainer.json: dockerComposeFile: "), "{error}");
    assert!(error.contains("[[environment.service]]") && !error.contains('\n'), "{error}");
}

#[test]
fn its_secrets_are_wanted_and_not_bound() {
    let environment = read(r#"{ "secrets": { "TOKEN": { "description": "for the index" } } }"#);
    assert_eq!(environment.wanted_secrets, ["TOKEN"]);
    assert!(environment.secrets.is_empty());
}

#[test]
fn what_is_hostile_is_refused_in_one_line() {
    let many: String = (0..200).map(|n| format!("\"V{n}\": \"x\",")).collect();
    for (text, words) in [
        (format!("{{ \"x\": {}1 }}", "[".repeat(100_000)), "nesting depth"),
        ("{".repeat(100_000), "unexpected token in object"),
        (format!("{{ \"x\": {}", "{\"a\":".repeat(40_000)), "nesting depth"),
        (format!("{{ \"a\": \"{}\" }}", "x".repeat(DEVCONTAINER_BYTES)), "larger than 256 KiB"),
        (format!("{{ \"containerEnv\": {{ {many} }} }}"), "200 entries"),
        (format!("{{ \"postCreateCommand\": \"{}\" }}", "x".repeat(20_000)), "20000 bytes"),
        (r#"{ "postCreateCommand": "a\u0000b" }"#.into(), "NUL"),
        (r#"{ "image": "--privileged" }"#.into(), "is no image"),
        (r#"{ "image": "a b" }"#.into(), "is no image"),
        (r#"{ "image": ["a"] }"#.into(), "image: it is no text"),
        (r#"{ "image": "a:${localEnv:TAG}" }"#.into(), "not read"),
        (r#"{ "build": { "dockerfile": "D", "target": "--output=/" } }"#.into(), "build.target"),
        (r#"{ "containerEnv": ["A=b"] }"#.into(), "containerEnv: it is no object"),
        (r#"{ "containerEnv": { "A": 1 } }"#.into(), "containerEnv.A: it is no text"),
        (r#"{ "postCreateCommand": 5 }"#.into(), "postCreateCommand: it is no text"),
        ("[]".into(), "no object"),
        (String::new(), "no object"),
        ("{ \"image\": \u{1b}[31m }".into(), "unexpected"),
        ("{ 'image': 'a' }".into(), "single-quoted"),
    ] {
        let error = refused(&text);
        let shown = &text[..text.len().min(60)];
        assert!(error.contains(words), "{shown}: {error}");
        assert!(error.len() < 300 && !error.contains(['\n', '\u{1b}']), "{shown}: {error}");
    }
}

#[test]
fn what_a_variable_stands_for_is_not_read_again() {
    let environment = read(
        r#"{ "containerEnv": { "A": "${localEnv:X:$}", "B": "{localEnv:HOME}", "C": "${", "D": "${containerEnv:A}" } }"#,
    );
    assert_eq!(environment.variables["A"], "$");
    assert_eq!(environment.variables["B"], "{localEnv:HOME}");
    assert_eq!(environment.variables["C"], "${");
    assert!(!environment.variables.contains_key("D"), "{environment:?}");
}
