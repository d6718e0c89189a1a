//! What the test binaries of this crate share that are init themselves: the beginning of their process, and reading what
//! a command does.

use std::path::Path;
use std::time::Duration;

use sortie_policy::ports::{Chunk, Ended, Exit};
use sortie_workspace::client::Running;
use sortie_workspace::sandbox::Owner;

/// Long enough for anything here; only a bug lets it pass.
pub(crate) const LONG: Duration = Duration::from_secs(300);

#[used]
#[expect(unsafe_code, reason = "to be first in the process, before the harness starts its threads")]
// SAFETY: the C library calls each pointer of this section once, with these arguments, before `main`.
#[unsafe(link_section = ".init_array")]
static FIRST: extern "C" fn() = crate::support::serve_if_asked;

/// Has the user of commands own a file or folder.
pub(crate) fn give_away(path: &Path) {
    let owner = Owner::current();
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
        .expect("root may, and others keep theirs");
}

/// Makes a program of bytes, by a process of its own: one of ours that was just forked off by another test would hold
/// the file open to be written, and nobody can run such a file.
pub(crate) fn program(path: &Path, bytes: &[u8]) {
    let mut writer = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("a shell is there");
    let written = std::io::Write::write_all(&mut writer.stdin.take().expect("it is piped"), bytes);
    assert!(writer.wait().expect("it ends").success() && written.is_ok(), "{} is written", path.display());
}

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) dropped: u64,
}

/// Reads a command to its end.
pub(crate) async fn outcome(running: &mut Running) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match running.next(LONG).await.expect("the workspace is there") {
            Some(Chunk::Stdout(bytes)) => stdout.extend(bytes),
            Some(Chunk::Stderr(bytes)) => stderr.extend(bytes),
            Some(Chunk::Exit(Ended { exit, dropped, .. })) => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                return Outcome { exit, stdout: text(&stdout), stderr: text(&stderr), dropped };
            }
            Some(Chunk::Skipped(bytes)) => panic!("somebody reads, and {bytes} bytes are missing"),
            None => panic!("the command does not end"),
        }
    }
}

/// Waits until something holds, and panics if it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
