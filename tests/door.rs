//! A container engine that comes and goes: a socket before the real one's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where the real one listens.
fn engine() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").into()
}

/// A socket that anybody may use, and whose engine is there as long as the door is open.
pub(crate) struct Door {
    socket: PathBuf,
    passing: Arc<Mutex<Passing>>,
}

/// What is open, and how often all of it was closed.
#[derive(Default)]
struct Passing {
    streams: Vec<UnixStream>,
    shut: u32,
}

impl Door {
    /// One whose engine never answers a request with these words in it.
    pub(crate) fn deaf_to(socket: &Path, words: Option<&'static str>) -> Self {
        let door = Self { socket: socket.to_owned(), passing: Arc::default() };
        door.listen(words);
        door
    }

    pub(crate) fn open(socket: &Path) -> Self {
        Self::deaf_to(socket, None)
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The engine has gone away, in the middle of whatever it was asked.
    pub(crate) fn shut(&self) {
        std::fs::remove_file(&self.socket).expect("it was open");
        let mut passing = self.passing.lock().expect("lock");
        passing.shut += 1;
        for stream in passing.streams.drain(..) {
            // the other end may have hung up
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// And is there again.
    pub(crate) fn open_again(&self) {
        self.listen(None);
    }

    fn listen(&self, deaf_to: Option<&'static str>) {
        let listener = UnixListener::bind(&self.socket).expect("it is free");
        std::fs::set_permissions(&self.socket, PermissionsExt::from_mode(0o666)).expect("is ours");
        let passing = Arc::clone(&self.passing);
        let shut = passing.lock().expect("lock").shut;
        // it ends with this process, or with the first that comes too late; without its path nobody else does
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let engine = UnixStream::connect(engine()).expect("the engine is there");
                let twin = |stream: &UnixStream| stream.try_clone().expect("is cloned");
                let mut passing = passing.lock().expect("lock");
                if passing.shut != shut {
                    return;
                }
                passing.streams.extend([twin(&client), twin(&engine)]);
                drop(passing);
                let (to, from) = (twin(&engine), twin(&client));
                std::thread::spawn(move || pass(from, to, deaf_to));
                std::thread::spawn(move || pass(engine, client, None));
            }
        });
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, deaf_to: Option<&str>) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let is_heard = |words: &str| !String::from_utf8_lossy(&bytes[..count]).contains(words);
        if !deaf_to.is_none_or(is_heard) {
            continue;
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // as the end that was read from did
    let _ = to.shutdown(Shutdown::Write);
}
