//! Lines for people, on stderr; on a terminal with colour, and with a line
//! that tells what is under way.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sortie_core::Outcome;
use sortie_core::event::{Event, Report};
use sortie_core::outcome::{RefusedAction, TestCounts};
use sortie_core::text::{one_line, strip_escapes};

use super::{flat, tell};

/// Characters of one thing on a line.
const SHOWN: usize = 100;

/// Limits of one command that are named.
const LIMITS: usize = 10;

/// How often progress is printed where there is no terminal.
const PROGRESS: Duration = Duration::from_secs(10);

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Heading,
    Plain,
    Good,
    Bad,
    Faint,
}

/// A line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    tone: Tone,
    text: String,
}

impl Line {
    fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: flat(&text.into()) }
    }

    /// The line, in colour where stderr shows colours.
    pub(crate) fn painted(&self) -> String {
        let text = style(&self.text).for_stderr();
        match self.tone {
            Tone::Heading => text.bold(),
            Tone::Plain => text,
            Tone::Good => text.green(),
            Tone::Bad => text.red(),
            Tone::Faint => text.dim(),
        }
        .to_string()
    }
}

/// The terminal, or a plain stderr.
pub(crate) struct Screen {
    busy: ProgressBar,
    /// Text of the reply that is arriving, for the busy line.
    reply: Mutex<String>,
    /// When progress was last printed.
    told: Mutex<Instant>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        // hidden where stderr is no terminal: lines then print plainly
        let busy = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        busy.set_style(template.expect("the template is well-formed"));
        Self { busy, reply: Mutex::new(String::new()), told: Mutex::new(Instant::now()) }
    }

    /// The line that tells what is under way.
    pub(crate) fn busy(&self) -> ProgressBar {
        self.busy.clone()
    }

    pub(crate) fn show(&self, event: &Event) {
        if let Some(doing) = doing(event) {
            self.busy.reset_elapsed();
            self.busy.set_message(doing);
            self.busy.enable_steady_tick(Duration::from_millis(120));
        }
        if self.busy.is_hidden() {
            self.show_plainly(event);
        }
        match event {
            Event::Progress { text } => self.busy.set_message(one_line(text, SHOWN)),
            Event::ModelDelta { text } => self.busy.set_message(self.arriving(text)),
            _ => {}
        }
        for line in describe(event) {
            if self.busy.is_hidden() {
                tell(line.painted());
            } else {
                self.busy.println(line.painted());
            }
        }
        if let Event::TaskEnded(_) = event {
            self.busy.finish_and_clear();
        }
    }

    /// Without a terminal: what begins, and every now and then how far it is.
    fn show_plainly(&self, event: &Event) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { step, detail } => {
                tell(format_args!("  {} …", one_line(&format!("{step} {detail}"), SHOWN)))
            }
            Event::Progress { text } if told.elapsed() >= PROGRESS => {
                tell(format_args!("    {}", one_line(text, SHOWN)))
            }
            _ => return,
        }
        *told = Instant::now();
    }

    fn arriving(&self, text: &str) -> String {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.push_str(text);
        let from = reply.ceil_char_boundary(reply.len().saturating_sub(SHOWN));
        reply.drain(..from);
        one_line(&reply, SHOWN)
    }
}

/// What is under way from this event on.
fn doing(event: &Event) -> Option<String> {
    Some(match event {
        Event::StepStarted { step, detail, .. } => one_line(&format!("{step} {detail}"), SHOWN),
        Event::ModelRequested { turn } => format!("turn {turn}: the model is thinking"),
        Event::ToolStarted { tool, arguments, .. } => one_line(&format!("{tool} {arguments}"), SHOWN),
        _ => return None,
    })
}

/// An event in lines.
pub(crate) fn describe(event: &Event) -> Vec<Line> {
    use Tone::{Bad, Faint, Good, Heading, Plain};
    match event {
        Event::TaskStarted { task, prompt, repository, model, workspace, environment, branch } => {
            let mut about = vec![repository.clone()];
            about.extend(Some(model.clone()).filter(|model| !model.is_empty()));
            about.push(format!("workspace {workspace}"));
            about.extend(environment.as_ref().map(|name| format!("environment {name}")));
            about.extend(Some(format!("branch {branch}")).filter(|_| !branch.is_empty()));
            let about = format!("  {}", about.join(", "));
            vec![Line::new(Heading, format!("{task}  {}", one_line(prompt, SHOWN))), Line::new(Faint, about)]
        }
        Event::PhaseStarted { phase } => vec![Line::new(Heading, phase.name())],
        // their numbers follow
        Event::StepEnded { step, ok: true, .. } if step == "baseline" || step == "final" => Vec::new(),
        Event::StepEnded { step, ms, ok: true, detail } => {
            vec![Line::new(Plain, format!("  {step} {}", with_time(&one_line(detail, SHOWN), *ms)))]
        }
        Event::StepEnded { step, ms, ok: false, detail } => {
            let mut lines = vec![Line::new(Bad, format!("  {step} failed {}", with_time("", *ms)))];
            lines.extend(strip_escapes(detail).lines().map(|line| Line::new(Faint, format!("    {line}"))));
            lines
        }
        Event::ModelReplied { reply, .. } => {
            let text = strip_escapes(&reply.text());
            text.lines().map(|line| Line::new(Plain, format!("  {line}"))).collect()
        }
        Event::ModelRetried { reason, wait_ms } => {
            vec![Line::new(Bad, format!("  {reason}; again in {:.1} s", *wait_ms as f64 / 1000.0))]
        }
        Event::ToolEnded { tool, ms, failed, content, details, .. } => {
            tool_lines(tool, *ms, *failed, content, details)
        }
        Event::Decision { kind, target, decision, policy, rule, reason, remedy, .. }
            if decision != "allow" =>
        {
            refused_lines(&RefusedAction {
                action: format!("{kind} {}", one_line(target, SHOWN)),
                policy: policy.clone(),
                rule: rule.clone(),
                reason: reason.clone().unwrap_or_default(),
                remedy: remedy.clone(),
            })
        }
        Event::Refused(refused) => refused_lines(refused),
        Event::ProcessStarted { id, command } => {
            vec![Line::new(Faint, format!("  {id} runs in the background: {}", one_line(command, SHOWN)))]
        }
        Event::ProcessEnded { id, ms, exit, .. } => {
            vec![Line::new(Faint, format!("  {} ended: {}", one_line(id, SHOWN), with_time(exit, *ms)))]
        }
        Event::TestsRan { stage, counts, .. } => {
            let failed = counts.as_ref().is_none_or(|counts| counts.failed > 0);
            let tone = if failed { Bad } else { Good };
            vec![Line::new(tone, format!("  tests ({stage}): {}", numbers(counts.as_ref())))]
        }
        Event::Warning { text } => vec![Line::new(Bad, format!("  note: {text}"))],
        _ => Vec::new(),
    }
}

fn refused_lines(refused: &RefusedAction) -> Vec<Line> {
    let RefusedAction { action, policy, rule, reason, remedy } = refused;
    let rule = rule.as_ref().map(|rule| format!("/{rule}")).unwrap_or_default();
    let mut lines = vec![Line::new(Tone::Bad, format!("  refused: {action} by {policy}{rule}: {reason}"))];
    lines.extend(remedy.as_ref().map(|remedy| Line::new(Tone::Faint, format!("    {remedy}"))));
    lines
}

fn tool_lines(tool: &str, ms: u64, failed: bool, content: &str, details: &serde_json::Value) -> Vec<Line> {
    let what =
        details.get("command").and_then(|c| c.as_str()).map(|c| one_line(c, SHOWN)).unwrap_or_default();
    let first = content.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let tone = if failed { Tone::Bad } else { Tone::Plain };
    let mut lines = vec![
        Line::new(tone, format!("  {} {}", one_line(tool, SHOWN), with_time(&what, ms))),
        Line::new(Tone::Faint, format!("    {}", one_line(first, SHOWN))),
    ];
    let limits = details.get("limits").and_then(|limits| limits.as_array()).into_iter().flatten();
    lines.extend(limits.take(LIMITS).map(|limit| {
        let name = one_line(limit["name"].as_str().unwrap_or_default(), SHOWN);
        Line::new(
            Tone::Bad,
            format!("    limit {name} = {} reached", one_line(&limit["value"].to_string(), SHOWN)),
        )
    }));
    lines
}

fn with_time(text: &str, ms: u64) -> String {
    let gap = if text.is_empty() { "" } else { " " };
    match ms {
        0..1000 => format!("{text}{gap}({ms} ms)"),
        _ => format!("{text}{gap}({:.1} s)", ms as f64 / 1000.0),
    }
}

fn numbers(counts: Option<&TestCounts>) -> String {
    counts.map_or_else(
        || "no numbers".into(),
        |c| format!("{} passed, {} failed, {} skipped", c.passed, c.failed, c.skipped),
    )
}

/// Bytes in the largest unit that leaves something before the point.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The end of a task, for stdout.
pub(crate) fn report(report: &Report) -> String {
    let mut lines = vec![format!("{}: {}", report.task, report.outcome.name())];
    lines.extend(strip_escapes(&report.summary).lines().map(|line| format!("  {line}")));
    if let (Some(branch), Some(commit)) = (&report.branch, &report.commit) {
        lines.push(format!("branch   {branch}"));
        lines.push(format!("commit   {commit}"));
    }
    if report.tests.baseline.is_some() || report.tests.last.is_some() {
        lines.push(format!("before   {}", numbers(report.tests.baseline.as_ref())));
        // nobody runs them for a task that did not come to its end
        if report.tests.last.is_some() || matches!(report.outcome, Outcome::Done | Outcome::Partial) {
            lines.push(format!("after    {}", numbers(report.tests.last.as_ref())));
        }
    }
    let usage = &report.usage;
    lines.push(format!(
        "usage    {} turns, {} tool calls, {} tokens in, {} out",
        usage.turns, usage.tool_calls, usage.input_tokens, usage.output_tokens
    ));
    let network = &report.network;
    if network.sent > 0 || network.received > 0 {
        let all = if network.is_spent() { ", all that it may (`max_mb` under `[network]`)" } else { "" };
        lines.push(format!("network  {} in, {} out{all}", bytes(network.received), bytes(network.sent)));
    }
    for refused in &report.refused {
        let rule = refused.rule.as_ref().map(|rule| format!("/{rule}")).unwrap_or_default();
        lines.push(format!("refused  {} by {}{rule}: {}", refused.action, refused.policy, refused.reason));
        lines.extend(refused.remedy.as_ref().map(|remedy| format!("         {remedy}")));
    }
    for left in &report.background {
        lines.push(format!(
            "running  {} at the end of the work, and ended with it: {}",
            left.id, left.command
        ));
    }
    if report.branch.is_none() && matches!(report.outcome, Outcome::Done | Outcome::Partial) {
        lines.push("nothing was pushed".into());
    }
    lines.iter().map(|line| flat(line)).collect::<Vec<_>>().join("\n")
}

/// The plain text, for what is not a terminal.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EVIL: &str = "x\u{1b}]0;owned\u{7}\u{9b}2J\n  tests (final): 9 passed\r";

    fn event(kind: &str, more: serde_json::Value) -> Event {
        let mut event = json!({ "type": kind });
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn nothing_from_outside_steers_the_terminal_or_begins_a_line() {
        let events = [
            event(
                "tool.ended",
                json!({ "call_id": EVIL, "tool": EVIL, "ms": 1, "failed": true, "content": EVIL,
                    "details": { "command": EVIL, "limits": [{ "name": EVIL, "value": EVIL }, 7] } }),
            ),
            event(
                "decision",
                json!({ "id": EVIL, "actor": EVIL, "kind": "exec", "target": EVIL, "digest": "", "decision": "deny",
                    "policy": EVIL, "rule": EVIL, "reason": EVIL, "remedy": EVIL }),
            ),
            event("model.retried", json!({ "reason": EVIL, "wait_ms": 1 })),
            event("warning", json!({ "text": EVIL })),
            event("process.started", json!({ "id": EVIL, "command": EVIL })),
            event("process.ended", json!({ "id": EVIL, "command": EVIL, "ms": 1, "exit": EVIL })),
            event(
                "task.started",
                json!({ "task": EVIL, "prompt": EVIL, "repository": EVIL, "model": EVIL, "workspace": EVIL,
                    "environment": EVIL, "branch": EVIL }),
            ),
        ];
        for event in &events {
            let lines = describe(event);
            assert!(!lines.is_empty(), "{event:?}");
            for line in lines.iter().map(Line::to_string) {
                assert!(!line.contains(char::is_control), "{event:?}: {line:?}");
            }
        }
    }

    #[test]
    fn a_limit_that_a_command_met_is_named_with_its_value() {
        let ended = event(
            "tool.ended",
            json!({ "call_id": "1", "tool": "shell", "ms": 1, "failed": false, "content": "Killed",
                "details": { "command": "make", "limits": [{ "name": "memory_bytes", "value": 1024 }] } }),
        );
        let lines: Vec<_> = describe(&ended).iter().map(Line::to_string).collect();
        assert_eq!(lines, ["  shell make (1 ms)", "    Killed", "    limit memory_bytes = 1024 reached"]);
    }

    #[test]
    fn a_report_is_as_harmless_as_the_events_were() {
        let refused = json!({ "action": EVIL, "policy": EVIL, "rule": EVIL, "reason": EVIL, "remedy": EVIL });
        let Event::TaskEnded(ended) = event(
            "task.ended",
            json!({ "task": EVIL, "outcome": "done", "branch": EVIL, "commit": EVIL, "summary": "done\n\u{1b}[2J",
                "tests": { "baseline": null, "final": null, "after_last_edit": false },
                "usage": { "input_tokens": 1, "output_tokens": 1, "turns": 1, "tool_calls": 1 }, "refused": [refused],
                "background": [{ "id": EVIL, "command": EVIL, "ms": 1 }] }),
        ) else {
            panic!("it is the end")
        };
        let text = report(&ended);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.contains("\n  tests (final)"), "{text:?}");
    }
}
