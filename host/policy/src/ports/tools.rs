//! Tools.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sortie_core::action::ToolCall;
use sortie_core::conversation::ToolSpec;
use tokio_util::sync::CancellationToken;

use super::PortError;
use crate::Permit;

/// The tools of a task.
#[async_trait]
pub trait Tools: Send + Sync {
    /// All of them, in order of name.
    fn list(&self) -> Vec<Tool>;

    /// Parses a call's arguments and checks them against the tool's schema.
    ///
    /// # Errors
    /// `NotFound` if there is no such tool, `Invalid` with what is wrong.
    fn check(&self, tool: &str, arguments: &str) -> Result<ToolCall, PortError>;

    /// Runs a tool in an instance of its own.
    ///
    /// # Errors
    /// The tool's own, or `Timeout`, `Cancelled`, `Internal` with a short
    /// text if the tool trapped.
    async fn invoke(&self, permit: Permit<ToolCall>, invocation: Invocation)
    -> Result<ToolOutput, PortError>;
}

/// A tool and where it comes from.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Id of the plugin that offers it.
    pub plugin: String,
    /// As the model is told of it.
    pub spec: ToolSpec,
    /// What it may do, as its author declares it.
    pub effects: ToolEffects,
}

/// What a tool may do, as its author declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "described in wit/tool/tool.wit")]
pub struct ToolEffects {
    pub reads: bool,
    pub writes: bool,
    pub executes: bool,
    pub network: bool,
    pub destructive: bool,
    pub idempotent: bool,
}

/// What the host says about a call beyond the model's arguments.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The call's `details`, an object.
    pub details: Value,
    /// The time it has.
    pub timeout: Duration,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Whether the host calls, for itself, instead of the model.
    pub by_host: bool,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolOutput {
    /// Text for the model.
    pub content: String,
    /// The same for programs.
    pub details: Value,
}
