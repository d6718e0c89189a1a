//! Asks the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressDrawTarget};
use rustix::termios::{QueueSelector, tcflush};
use sortie_core::text::{one_line, strip_escapes};
use sortie_policy::{Answer, Approver, Nobody, Question};
use tokio_util::sync::CancellationToken;

/// Bytes of an action's details that are shown whole.
const DETAILS: usize = 16_000;

/// Whoever can approve in this process: the terminal, if stdin and stderr are
/// one, else nobody. `busy` makes way for the question; once the task is
/// cancelled nobody is waited for.
pub(crate) fn for_this_process(busy: Option<ProgressBar>, cancel: CancellationToken) -> Arc<dyn Approver> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        Arc::new(Terminal { asking: Arc::default(), busy, cancel, prompt })
    } else {
        Arc::new(Nobody)
    }
}

/// One question at a time.
struct Terminal {
    asking: Arc<Mutex<()>>,
    busy: Option<ProgressBar>,
    cancel: CancellationToken,
    prompt: fn(&Question) -> std::io::Result<bool>,
}

#[async_trait]
impl Approver for Terminal {
    async fn ask(&self, question: Question) -> Answer {
        let (asking, busy, prompt) = (Arc::clone(&self.asking), self.busy.clone(), self.prompt);
        let asked = tokio::task::spawn_blocking(move || {
            let _one = asking.lock().unwrap_or_else(PoisonError::into_inner);
            let draw_on = |target: fn() -> ProgressDrawTarget| {
                busy.iter().for_each(|busy| busy.set_draw_target(target()));
            };
            draw_on(ProgressDrawTarget::hidden);
            let answer = prompt(&question);
            draw_on(ProgressDrawTarget::stderr);
            answer
        });
        let asked = tokio::select! {
            biased;
            // the thread stays with its question: it ends with the process
            () = self.cancel.cancelled() => return Answer::Denied("the task was cancelled".into()),
            asked = asked => asked,
        };
        match asked {
            Ok(Ok(true)) => Answer::Approved,
            Ok(Ok(false)) => Answer::Denied("denied at the terminal".into()),
            Ok(Err(error)) => Answer::Denied(format!("the terminal could not be asked: {error}")),
            Err(error) => Answer::Denied(format!("the terminal could not be asked: {error}")),
        }
    }
}

fn prompt(question: &Question) -> std::io::Result<bool> {
    // whole, and let go of: the task may be cancelled while the person thinks, and says so
    std::io::stderr().write_all(asked(question).as_bytes())?;
    // what was typed before the question is no answer to it
    tcflush(std::io::stdin(), QueueSelector::IFlush)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn asked(question: &Question) -> String {
    let rule =
        question.rule.as_deref().map(|rule| format!(" (rule `{}`)", one_line(rule, 80))).unwrap_or_default();
    let (policy, reason) = (one_line(&question.policy, 80), one_line(&question.reason, 500));
    let details: String =
        details(&question.action.details).lines().map(|line| format!("    {line}\n")).collect();
    format!("\n{policy}{rule} asks: {reason}\n  {}\n{details}Allow it this once? [y/N] ", question.action)
}

/// The whole action, since approving what one cannot see is no approval. What
/// is too long for a terminal says so where something is missing.
fn details(details: &serde_json::Value) -> String {
    let text = strip_escapes(&serde_json::to_string_pretty(details).unwrap_or_default());
    if text.len() <= DETAILS {
        return text;
    }
    let head = text.floor_char_boundary(DETAILS / 2);
    let tail = text.ceil_char_boundary(text.len() - DETAILS / 2);
    let missing = tail - head;
    format!("{}\n[{missing} bytes are NOT SHOWN here]\n{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use serde_json::json;
    use sortie_core::ActionKind;
    use sortie_core::action::Action;

    fn question() -> Question {
        Question {
            action: Action { kind: ActionKind::Exec, target: "make".into(), details: json!({}) },
            digest: String::new(),
            policy: "rules".into(),
            rule: None,
            reason: "why".into(),
        }
    }

    fn terminal(prompt: fn(&Question) -> std::io::Result<bool>) -> Terminal {
        Terminal { asking: Arc::default(), busy: None, cancel: CancellationToken::new(), prompt }
    }

    #[tokio::test]
    async fn a_task_that_is_cancelled_waits_for_no_answer() {
        let terminal = terminal(|_| {
            std::thread::sleep(Duration::from_millis(300));
            Ok(true)
        });
        terminal.cancel.cancel();
        assert_eq!(terminal.ask(question()).await, Answer::Denied("the task was cancelled".into()));
    }

    #[tokio::test]
    async fn an_answer_that_comes_with_the_end_of_the_task_is_none() {
        static AWAITED: AtomicBool = AtomicBool::new(false);
        static ANSWERED: AtomicBool = AtomicBool::new(false);
        let terminal = terminal(|_| {
            while !AWAITED.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            ANSWERED.store(true, Ordering::SeqCst);
            Ok(true)
        });
        // on one thread: nobody looks at the answer before the task is cancelled as well
        let (answer, ()) = tokio::join!(terminal.ask(question()), async {
            AWAITED.store(true, Ordering::SeqCst);
            while !ANSWERED.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(100));
            terminal.cancel.cancel();
        });
        assert_eq!(answer, Answer::Denied("the task was cancelled".into()));
    }

    #[tokio::test]
    async fn only_a_yes_approves() {
        assert_eq!(terminal(|_| Ok(true)).ask(question()).await, Answer::Approved);
        assert!(matches!(terminal(|_| Ok(false)).ask(question()).await, Answer::Denied(_)));
        let gone = terminal(|_| Err(std::io::ErrorKind::BrokenPipe.into()));
        assert!(matches!(gone.ask(question()).await, Answer::Denied(_)));
    }

    #[test]
    fn what_is_not_shown_of_an_action_is_said() {
        let text = format!("harmless{}rm -rf x", " ".repeat(5_000));
        assert!(details(&json!({ "text": text })).contains("rm -rf x"));
        let shown = details(&json!({ "text": "é".repeat(DETAILS) }));
        assert!(shown.contains("bytes are NOT SHOWN here]") && shown.len() < DETAILS + 100);
    }
}
