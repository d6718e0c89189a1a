//! `git clone` over https from a server of our own.

use std::path::Path;
use std::process::Stdio;

use sortie_testing::https::{self, Identity};
use tempfile::TempDir;
use tokio::process::Command;

use crate::proxy::Running;
use crate::support::World;

/// A bare repository, served as files over https.
struct Forge {
    folder: TempDir,
    port: u16,
}

impl Forge {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let work = folder.path().join("work");
        std::fs::create_dir(&work).expect("is made");
        std::fs::write(work.join("file"), "from afar").expect("is written");
        for arguments in [
            ["init", "--quiet", "--initial-branch=main", "."].as_slice(),
            &["add", "file"],
            &["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "Begin"],
            &["clone", "--quiet", "--bare", ".", "../origin.git"],
            &["--git-dir=../origin.git", "update-server-info"],
        ] {
            let (ok, text) = git(&work, arguments, &[]).await;
            assert!(ok, "git {arguments:?}: {text}");
        }
        let identity = Identity::of("localhost");
        std::fs::write(folder.path().join("ca.pem"), identity.pem()).expect("is written");
        let root = folder.path().to_owned();
        let port = identity.serve(move |path| https::file(&root, path)).await.port();
        Self { folder, port }
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Clones through a proxy; whether it went well, and what git said.
    async fn clone_through(&self, proxy: &Running, name: &str) -> (bool, String) {
        let url = format!("https://{}/origin.git", self.host());
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let proxy = format!("http://{}", proxy.address);
        let variables = [("https_proxy", proxy.as_str()), ("GIT_SSL_CAINFO", &ca)];
        git(self.folder.path(), &["clone", "--quiet", &url, name], &variables).await
    }
}

/// Runs git with nobody's settings.
async fn git(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    command.envs(variables.iter().copied());
    let output = command.output().await.expect("git runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_over_https_from_an_allowed_host_and_from_no_other() {
    let forge = Forge::start().await;
    let allowed = Running::over_loopback(&World::under(&forge.host()));
    let (ok, text) = forge.clone_through(&allowed, "cloned").await;
    assert!(ok, "{text}");
    let file = std::fs::read_to_string(forge.folder.path().join("cloned/file")).expect("it is checked out");
    assert_eq!(file, "from afar");
    let traffic = allowed.proxy.traffic();
    assert!(traffic.requests > 0 && traffic.received > 0 && traffic.refused == 0, "{traffic:?}");
    for rule in ["none", "registries", "forge.localhost", "localhost", "all"] {
        let world = World::under(rule);
        let running = Running::over_loopback(&world);
        let (ok, text) = forge.clone_through(&running, "refused").await;
        assert!(!ok && text.replace(&forge.host(), "").contains("403"), "{rule}: {text}");
        assert!(!forge.folder.path().join("refused").exists(), "{rule}");
        let refused = running.proxy.refused();
        assert_eq!(refused.len(), 1, "{rule}: {refused:?}");
        assert_eq!(refused[0].action, format!("network-connect {}", forge.host()));
        if rule == "all" {
            // a name of this machine's own
            assert_eq!(refused[0].rule.as_deref(), Some("public-addresses"));
        } else {
            assert_eq!(refused[0].reason, format!("the network rule of this phase is `{rule}`"));
            assert!(
                refused[0].remedy.as_deref().is_some_and(|remedy| remedy.contains(&forge.host())),
                "{refused:?}"
            );
        }
    }
}
