//! The parts of a sandbox that must not outlive it: the helper's process and the cgroups.

use std::io::{self, Read};
use std::process::Child;
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;

/// Until a helper that does not follow its init is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most of a helper's standard error that is worth reading.
const MAX_WORDS: u64 = 8 << 10;

/// The helper and the limits around it. The helper ends after the last process inside.
#[derive(Debug)]
pub(super) struct Life {
    helper: Child,
    cgroup: Option<Cgroup>,
}

impl Life {
    pub(super) fn new(helper: Child, cgroup: Option<Cgroup>) -> Self {
        Self { helper, cgroup }
    }

    /// The helper's number.
    pub(super) fn process(&self) -> i32 {
        i32::try_from(self.helper.id()).expect("numbers of processes are positive and small")
    }

    /// Puts the helper, and all that it starts from now on, under the limits.
    pub(super) fn limit(&self) -> io::Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.add(self.helper.id()))
    }

    /// Kills a helper that is not expected to follow anything.
    pub(super) fn kill(&mut self) {
        // It may have ended meanwhile.
        let _ = self.helper.kill();
    }

    /// Waits for the helper, whose control socket was hung up, and removes the cgroups. Blocks for
    /// milliseconds, or longer if the kernel cannot kill a process at once.
    pub(super) fn end(mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        while !matches!(self.helper.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > deadline {
                // Its death kills init by signal, and the kernel the rest. It cannot be waited for twice.
                let _ = self.helper.kill();
                let _ = self.helper.wait();
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Ends it and returns what the helper said on its standard error.
    pub(super) fn last_words(mut self) -> String {
        let stderr = self.helper.stderr.take();
        self.end();
        let mut words = Vec::new();
        if let Some(stderr) = stderr
            && rustix::io::ioctl_fionbio(&stderr, true).is_ok()
        {
            // Without waiting for its end: what a helper that was killed has started may still hold it open.
            let _ = stderr.take(MAX_WORDS).read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}
