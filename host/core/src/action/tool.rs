//! Calls of tools, and what they give the model.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Id of the call, unique within the task.
    pub call_id: String,
    /// The tool's name.
    pub tool: String,
    /// Id of the plugin that offers it.
    pub plugin: String,
    /// Its arguments, checked against the tool's schema.
    pub arguments: Value,
}
plain_effect!(ToolCall, ToolCall, |this| this.tool.clone());

/// A tool's result is shown to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolResult {
    /// Id of the call.
    pub call_id: String,
    /// The tool's name.
    pub tool: String,
    /// What the model will read.
    pub content: String,
    /// Whether the call failed.
    pub failed: bool,
}
plain_effect!(ToolResult, ToolResult, |this| this.tool.clone());
