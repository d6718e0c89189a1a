//! Asks the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sortie_core::text::{clip, one_line, strip_escapes};
use sortie_policy::{Answer, Approver, Nobody, Question};

/// Whoever can approve in this process: the terminal, if stdin and stderr are
/// one, else nobody.
pub(crate) fn for_this_process() -> Arc<dyn Approver> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        Arc::new(Terminal::default())
    } else {
        Arc::new(Nobody)
    }
}

/// One question at a time.
#[derive(Default)]
struct Terminal {
    asking: Arc<Mutex<()>>,
}

#[async_trait]
impl Approver for Terminal {
    async fn ask(&self, question: Question) -> Answer {
        let asking = Arc::clone(&self.asking);
        let asked = tokio::task::spawn_blocking(move || {
            let _one = asking.lock().unwrap_or_else(PoisonError::into_inner);
            prompt(&question)
        });
        match asked.await {
            Ok(Ok(true)) => Answer::Approved,
            Ok(Ok(false)) => Answer::Denied("denied at the terminal".into()),
            Ok(Err(error)) => Answer::Denied(format!("the terminal could not be asked: {error}")),
            Err(error) => Answer::Denied(format!("the terminal could not be asked: {error}")),
        }
    }
}

fn prompt(question: &Question) -> std::io::Result<bool> {
    let mut stderr = std::io::stderr().lock();
    let rule =
        question.rule.as_deref().map(|rule| format!(" (rule `{}`)", one_line(rule, 80))).unwrap_or_default();
    writeln!(stderr, "\n{}{rule} asks: {}", one_line(&question.policy, 80), one_line(&question.reason, 500))?;
    writeln!(stderr, "  {}", question.action)?;
    // the whole action: approving what one cannot see is no approval
    let details = serde_json::to_string_pretty(&question.action.details).unwrap_or_default();
    for line in clip(&strip_escapes(&details), 4000).lines() {
        writeln!(stderr, "    {line}")?;
    }
    write!(stderr, "Allow it this once? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
