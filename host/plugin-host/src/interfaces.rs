//! The host's side of `sortie:host` and `wasi:http`.
//!
//! Each effect passes three doors: the grants, the gate, the port. While a
//! component is loaded there is no task, and all of them answer `unavailable`.

pub(crate) mod exec;
mod files;
mod git;
pub(crate) mod http;

use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use crate::bindings::host::{config, control, telemetry, types};
use crate::failure::{HostError, to_guest};
use crate::state::State;

impl types::Host for State {
    fn convert_error(&mut self, error: HostError) -> wasmtime::Result<types::Error> {
        match error {
            HostError::Port(error) => {
                if error.code == ErrorCode::Denied {
                    self.log.guest("info", &format!("denied: {}", error.message));
                }
                Ok(to_guest(error))
            }
            HostError::Trap(error) => Err(error),
        }
    }
}

impl config::Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.plugin.settings.clone())
    }
}

impl control::Host for State {
    async fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.call.as_ref().is_some_and(|call| call.cancel.is_cancelled()))
    }

    async fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        let left = self.call.as_ref().map(|call| call.remaining().as_millis()).unwrap_or_default();
        Ok(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

impl telemetry::Host for State {
    async fn log(&mut self, level: telemetry::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            telemetry::Level::Debug => "debug",
            telemetry::Level::Info => "info",
            telemetry::Level::Warn => "warn",
            telemetry::Level::Error => "error",
        };
        self.log.guest(level, &message);
        Ok(())
    }

    async fn progress(&mut self, message: String) -> wasmtime::Result<()> {
        let (Some(call), Some(left)) = (&self.call, self.progress_left.checked_sub(1)) else { return Ok(()) };
        self.progress_left = left;
        call.task.context.progress.progress(&self.plugin.id, &one_line(&message, 200));
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> PortError {
    PortError::new(ErrorCode::Invalid, message)
}

fn too_large(message: impl Into<String>) -> PortError {
    PortError::new(ErrorCode::TooLarge, message)
}
