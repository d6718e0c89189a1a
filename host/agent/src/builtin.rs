//! The tools that belong to the agent: they change nothing but the
//! conversation and the journal.

use serde::Deserialize;
use serde_json::{Value, json};
use sortie_core::Outcome;
use sortie_core::conversation::ToolSpec;

use crate::shorten::MOST_SHOWN;

pub(crate) const FINISH: &str = "finish";
pub(crate) const UPDATE_PLAN: &str = "update_plan";
pub(crate) const READ_OUTPUT: &str = "read_output";

/// Arguments of `finish`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finish {
    pub(crate) outcome: FinishOutcome,
    pub(crate) title: String,
    pub(crate) summary: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinishOutcome {
    Done,
    Partial,
    Blocked,
}

impl From<FinishOutcome> for Outcome {
    fn from(outcome: FinishOutcome) -> Self {
        match outcome {
            FinishOutcome::Done => Self::Done,
            FinishOutcome::Partial => Self::Partial,
            FinishOutcome::Blocked => Self::Blocked,
        }
    }
}

/// Arguments of `update_plan`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdatePlan {
    pub(crate) steps: Vec<PlanStep>,
}

#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanStep {
    step: String,
    status: PlanStatus,
}

#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum PlanStatus {
    Pending,
    InProgress,
    Done,
}

/// Arguments of `read_output`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOutput {
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) start: usize,
    #[serde(default = "default_max")]
    pub(crate) max: usize,
}

fn default_max() -> usize {
    crate::DEFAULT_SHOWN
}

impl ReadOutput {
    /// The piece asked for, with a line that says where it lies.
    pub(crate) fn page(&self, text: &str) -> String {
        let total = text.chars().count();
        let piece: String = text.chars().skip(self.start).take(self.max.min(MOST_SHOWN)).collect();
        let end = self.start.min(total) + piece.chars().count();
        format!("[characters {} to {end} of {total}]\n{piece}", self.start.min(total))
    }
}

/// Reads the arguments of a built-in tool.
pub(crate) fn arguments<T: for<'a> Deserialize<'a>>(tool: &str, text: &str) -> Result<T, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| format!("the arguments of `{tool}` are not valid: {error}"))
}

pub(crate) fn specs() -> Vec<ToolSpec> {
    let spec = |name: &str, description: &str, properties: Value, required: &[&str]| ToolSpec {
        name: name.into(),
        description: description.into(),
        input_schema: json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }),
    };
    vec![
        spec(
            FINISH,
            "Ends the work. Call it alone, after you have verified the result.",
            json!({
                "outcome": { "enum": ["done", "partial", "blocked"],
                    "description": "done: all of the task; partial: some of it; blocked: you need help to go on" },
                "title": { "type": "string", "description": "one line in the imperative, for the commit" },
                "summary": { "type": "string", "description": "what was done and how it was checked, or what is missing" },
            }),
            &["outcome", "title", "summary"],
        ),
        spec(
            UPDATE_PLAN,
            "Replaces your plan, for long tasks: the user watches it.",
            json!({ "steps": { "type": "array", "maxItems": 50, "items": {
                "type": "object", "required": ["step", "status"], "additionalProperties": false,
                "properties": {
                    "step": { "type": "string" },
                    "status": { "enum": ["pending", "in_progress", "done"] },
                },
            } } }),
            &["steps"],
        ),
        spec(
            READ_OUTPUT,
            "Reads more of a tool output that was cut; the cut result names the output.",
            json!({
                "output": { "type": "string", "description": "the output's name, as the cut result gave it" },
                "start": { "type": "integer", "minimum": 0, "description": "first character; 0 by default" },
                "max": { "type": "integer", "minimum": 1, "maximum": MOST_SHOWN,
                    "description": "most characters; 10000 by default" },
            }),
            &["output"],
        ),
    ]
}
