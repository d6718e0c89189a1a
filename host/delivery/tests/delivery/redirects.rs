//! Remotes over https that lead elsewhere.

use std::sync::{Arc, Mutex};

use sortie_delivery::Mirrors;
use sortie_policy::ports::ErrorCode;
use sortie_testing::https::{self, Identity};

use crate::support::{Ground, Task, git, write};

/// Two servers of one certificate: one has the ground's files, and one leads
/// to the same path of the other.
struct Forges {
    ground: Ground,
    files: u16,
    leading: u16,
    /// Paths that the first was asked for.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Forges {
    async fn start() -> Self {
        let ground = Ground::with(&[("a", "1\n")]);
        git(&ground.origin(), &["update-server-info"]);
        let identity = Identity::of("127.0.0.1");
        write(ground.path(), "ca.pem", identity.pem());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, root) = (Arc::clone(&seen), ground.path().to_owned());
        let files = identity.serve(move |path| {
            kept.lock().expect("no test panics with it").push(path.to_owned());
            https::file(&root, path)
        });
        let files = files.await.port();
        let leading = identity.serve(move |path| {
            let location = format!("https://127.0.0.1:{files}/{path}");
            https::response("301 Moved", &[("location", &location)], b"")
        });
        let leading = leading.await.port();
        Self { ground, files, leading, seen }
    }

    /// A task on the repository of the server at this port.
    fn task(&self, port: u16) -> Task {
        let folder = self.ground.path();
        Task::on(&self.ground, &format!("https://127.0.0.1:{port}/origin.git"), |config| {
            config.deliver = false;
            config.mirrors = Some(Mirrors::new(&folder.join("home")));
            config.host_repository = folder.join(format!("task-{port}.git"));
            config.environment.push(("GIT_SSL_CAINFO".into(), folder.join("ca.pem").into()));
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_redirects_is_not_followed() {
    let forges = Forges::start().await;
    let error = forges.task(forges.leading).fetch().await.expect_err("leads elsewhere");
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    assert!(error.message.contains("name the URL that it leads to"), "{error}");
    assert_eq!(*forges.seen.lock().expect("no test panics with it"), Vec::<String>::new());
    // the place itself may be named
    let base = forges.task(forges.files).fetch().await.expect("is fetched");
    assert_eq!(base, forges.ground.in_origin(&["rev-parse", "main"]));
}
