//! Ctrl-C: once ends the task in order, twice at once.

use std::io::Write as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Watches SIGINT and SIGTERM for as long as the runtime lives. The first one
/// cancels; the second ends the process with code 130: the workspace goes
/// with it, since its init ends when its control descriptor closes.
pub(crate) fn watch(cancel: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        drop(writeln!(std::io::stderr(), "\nending in order; once more ends at once"));
        cancel.cancel();
        next().await;
        std::process::exit(130);
    });
    Ok(())
}
