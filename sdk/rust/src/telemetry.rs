//! Lines for the plugin's log, and progress for the user.

use crate::backend;

/// How much a line matters.
pub use crate::bindings::host::sortie::host::telemetry::Level;

/// Writes a line to the plugin's log. Lines are cut at 8 KiB, and those beyond
/// 1000 in one call are dropped.
pub fn log(level: Level, message: &str) {
    backend::telemetry::log(level, message);
}

/// Tells the user how far a long call has come. Cut at 200 characters.
pub fn progress(message: &str) {
    backend::telemetry::progress(message);
}

/// Writes a formatted line to the plugin's log: `log!(warn, "no {name}")`.
/// Levels are `debug`, `info`, `warn` and `error`.
#[macro_export]
macro_rules! log {
    (debug, $($arg:tt)*) => { $crate::telemetry::log($crate::telemetry::Level::Debug, &::std::format!($($arg)*)) };
    (info, $($arg:tt)*) => { $crate::telemetry::log($crate::telemetry::Level::Info, &::std::format!($($arg)*)) };
    (warn, $($arg:tt)*) => { $crate::telemetry::log($crate::telemetry::Level::Warn, &::std::format!($($arg)*)) };
    (error, $($arg:tt)*) => { $crate::telemetry::log($crate::telemetry::Level::Error, &::std::format!($($arg)*)) };
}

/// Tells the user, in a formatted line, how far a long call has come.
#[macro_export]
macro_rules! progress {
    ($($arg:tt)*) => { $crate::telemetry::progress(&::std::format!($($arg)*)) };
}
