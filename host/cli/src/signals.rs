//! Ctrl-C: once ends the task in order, twice at once.

use std::io::Write as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Watches SIGINT, SIGTERM and SIGHUP for as long as the runtime lives. The
/// first one cancels; another SIGINT or SIGTERM ends the process with code
/// 130: the workspace goes with it, since its init ends when its control
/// descriptor closes. A terminal that closes is told of twice, by the kernel
/// and by the shell in it, and so SIGHUP ends nothing at once.
pub(crate) fn watch(cancel: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = Hangup::watch()?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hangup.next() => {}
        }
        cancel.cancel();
        // a terminal may be gone, or take nothing (Ctrl-S): that holds up neither the end nor the next signal, nor does it
        // if there is no thread to tell it from
        let tell = || drop(writeln!(std::io::stderr(), "\nending in order; once more ends at once"));
        drop(std::thread::Builder::new().spawn(tell));
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}

/// SIGHUP, as when the terminal closes.
pub(crate) struct Hangup(Option<Signal>);

impl Hangup {
    /// Takes it over, unless whoever started this process had it ignored, as
    /// `nohup` does: then that stays so, and it never comes.
    pub(crate) fn watch() -> std::io::Result<Self> {
        if is_ignored(SignalKind::hangup()) {
            return Ok(Self(None));
        }
        signal(SignalKind::hangup()).map(|signal| Self(Some(signal)))
    }

    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whether this process ignores a signal, as the kernel says it.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (signal.as_raw_value() - 1)) != 0)
}
