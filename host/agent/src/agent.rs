//! The loop.

mod call;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Conversation, Item, Message, Reply, StopReason};
use sortie_core::event::Event;
use sortie_core::text::{one_line, strip_escapes};
use sortie_core::{Actor, Outcome};
use sortie_policy::ports::{Model, ModelError, ReplyObserver, Tool, Tools};
use sortie_policy::{Gate, Refusal};
use tokio_util::sync::CancellationToken;

use crate::builtin::{self, Finish};
use crate::journal::{Journal, JournalError};
use crate::limits::Limits;
use crate::loops::{Advice, LoopWatch};
use crate::meter::Meter;
use crate::prompt::Brief;

use call::CallResult;

/// Replies without anything in them that are borne in a row.
const EMPTY_REPLIES: u32 = 3;
/// Tool calls of one reply that are run; the model is told of the others.
const CALLS_PER_REPLY: usize = 64;

/// Lets a model work with tools.
pub struct Agent {
    /// Decides on model requests, tool calls and tool results.
    pub gate: Arc<Gate>,
    /// The model.
    pub model: Arc<dyn Model>,
    /// Its tools.
    pub tools: Arc<dyn Tools>,
    /// Where everything is written down.
    pub journal: Arc<dyn Journal>,
    /// Counts turns, calls and tokens.
    pub meter: Arc<Meter>,
    /// The budgets.
    pub limits: Limits,
    /// Ends the work.
    pub cancel: CancellationToken,
}

/// How the work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What came of it, before the host verifies it.
    pub outcome: Outcome,
    /// One line for the commit; empty if the model gave none.
    pub title: String,
    /// What was done, in the model's words, or why it was stopped.
    pub summary: String,
}

/// Why the work could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no reply from the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The gate does not let the model be asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal does not take events.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the model is told when it goes in circles.
const CIRCLES: &str = "You are going in circles: the same call gave the same result, or the same failure, several \
                       times. Try something else, or finish as `blocked`.";

/// The state of one piece of work.
struct Work {
    conversation: Conversation,
    tools: HashMap<String, Tool>,
    watch: LoopWatch,
    started: Instant,
    turn: u32,
    empty: u32,
    warned: bool,
}

impl Agent {
    /// Works until the model finishes, or it must stop.
    ///
    /// # Errors
    /// If the model cannot be asked or the journal cannot be written. A
    /// budget, a loop and a cancellation are ends, not errors.
    pub async fn work(&self, brief: &Brief) -> Result<Ended, AgentError> {
        let mut work = self.begin(brief);
        loop {
            if let Some(ended) = self.must_stop(&work) {
                self.journal.commit().await?;
                return Ok(ended);
            }
            self.warn_near_the_end(&mut work);
            let Some(reply) = self.ask(&mut work).await? else { continue };
            work.conversation.messages.push(Message::Assistant { items: reply.items.clone() });
            if let Some(ended) = self.take(&mut work, &reply).await? {
                self.journal.commit().await?;
                return Ok(ended);
            }
        }
    }

    fn begin(&self, brief: &Brief) -> Work {
        let tools = self.tools.list();
        let mut specs: Vec<_> = tools.iter().map(|tool| tool.spec.clone()).collect();
        specs.extend(builtin::specs());
        let (system, text) = (brief.system(), brief.first_message());
        self.journal.append(Event::ConversationStarted { system: system.clone(), message: text.clone() });
        Work {
            conversation: Conversation { system, messages: vec![Message::User { text }], tools: specs },
            tools: tools.into_iter().map(|tool| (tool.spec.name.clone(), tool)).collect(),
            watch: LoopWatch::default(),
            started: Instant::now(),
            turn: 0,
            empty: 0,
            warned: false,
        }
    }

    /// Says something to the model, between its turns.
    fn tell(&self, work: &mut Work, text: impl Into<String>) {
        let text = text.into();
        self.journal.append(Event::ConversationTold { text: text.clone() });
        work.conversation.messages.push(Message::User { text });
    }

    fn must_stop(&self, work: &Work) -> Option<Ended> {
        if self.cancel.is_cancelled() {
            return Some(cancelled());
        }
        let spent = if work.turn >= self.limits.turns {
            format!("{} turns", self.limits.turns)
        } else if self.meter.tokens() >= self.limits.tokens {
            format!("{} tokens", self.limits.tokens)
        } else if self.time_left(work).is_zero() {
            format!("{} seconds", self.limits.time.as_secs())
        } else {
            return None;
        };
        let summary = format!("the budget of {spent} is spent; the work so far is kept");
        Some(Ended { outcome: Outcome::Budget, title: String::new(), summary })
    }

    fn time_left(&self, work: &Work) -> Duration {
        self.limits.time.saturating_sub(work.started.elapsed())
    }

    /// Tells the model once when nine tenths of a budget are spent.
    fn warn_near_the_end(&self, work: &mut Work) {
        let near = u64::from(work.turn) * 10 >= u64::from(self.limits.turns) * 9
            || self.meter.tokens().saturating_mul(10) >= self.limits.tokens.saturating_mul(9)
            || self.time_left(work) <= self.limits.time / 10;
        if near && !std::mem::replace(&mut work.warned, true) {
            let turns = self.limits.turns - work.turn;
            let text = format!(
                "The budget is nearly spent ({turns} turns left at most). Verify what you have and finish."
            );
            self.tell(work, text);
        }
    }

    /// Asks for a reply; none if the task was cancelled meanwhile, or its time
    /// ran out. The permit is waited for no longer than the reply: a person
    /// may have to give it.
    async fn ask(&self, work: &mut Work) -> Result<Option<Reply>, AgentError> {
        work.turn += 1;
        let request = ModelRequest {
            provider: self.model.provider().to_owned(),
            model: self.model.name().to_owned(),
            endpoint: self.model.endpoint().to_owned(),
            max_output_tokens: self.limits.reply_tokens,
            conversation: Arc::new(work.conversation.clone()),
        };
        let turn = work.turn;
        let respond = async {
            let permit = self.gate.permit(&Actor::Agent, request).await?;
            self.journal.append(Event::ModelRequested { turn });
            self.journal.commit().await?;
            Ok::<_, AgentError>(self.model.respond(permit, &Watcher { journal: &*self.journal }).await?)
        };
        let reply = tokio::select! {
            () = self.cancel.cancelled() => return Ok(None),
            reply = tokio::time::timeout(self.time_left(work), respond) => match reply {
                Ok(reply) => reply?,
                Err(_) => return Ok(None),
            },
        };
        self.meter.count_turn(reply.usage);
        self.journal.append(Event::ModelReplied { turn, reply: reply.clone() });
        Ok(Some(reply))
    }

    /// Carries a reply out. Some if the work ended with it.
    async fn take(&self, work: &mut Work, reply: &Reply) -> Result<Option<Ended>, AgentError> {
        let calls: Vec<_> = reply
            .items
            .iter()
            .filter_map(|item| match item {
                Item::ToolCall { id, name, arguments } => Some((id, name, arguments)),
                _ => None,
            })
            .collect();
        if calls.is_empty() {
            return Ok(self.take_without_calls(work, reply));
        }
        work.empty = 0;
        let mut finish = None;
        let (mut circles, mut stuck) = (false, false);
        for (at, (id, name, arguments)) in calls.into_iter().enumerate() {
            let left_out = self.reason_to_leave_out(work, at, name);
            let result = match left_out {
                Some(why) => self.leave_out(id, name, arguments, why),
                None if name == builtin::FINISH => match builtin::arguments(name, arguments) {
                    Ok(arguments) => {
                        finish = Some(arguments);
                        CallResult::success("noted")
                    }
                    Err(message) => self.leave_out(id, name, arguments, &message),
                },
                None => self.call(work, id, name, arguments).await?,
            };
            // what was left out is no doing of the model's
            let noted =
                left_out.is_none().then(|| work.watch.note(name, arguments, &result.content, result.failed));
            match noted {
                None | Some(Advice::Continue) => {}
                Some(Advice::Warn) => circles = true,
                // within the reply that earned the warning the model could not have heeded it
                Some(Advice::Stop) => stuck = !circles,
            }
            work.conversation.messages.push(Message::ToolResult {
                call_id: id.clone(),
                content: result.content,
                failed: result.failed,
            });
            if self.cancel.is_cancelled() {
                return Ok(Some(cancelled()));
            }
        }
        if stuck && finish.is_none() {
            let summary = "the agent went in circles and was stopped".to_owned();
            return Ok(Some(Ended { outcome: Outcome::Failed, title: String::new(), summary }));
        }
        if circles {
            self.tell(work, CIRCLES);
        }
        Ok(finish.map(ended))
    }

    /// A reply without tool calls ends the work with its text as the summary.
    fn take_without_calls(&self, work: &mut Work, reply: &Reply) -> Option<Ended> {
        let text = strip_escapes(&reply.text());
        if reply.stop == StopReason::Declined {
            let summary = if text.is_empty() { "the model declined the task".into() } else { text };
            return Some(Ended { outcome: Outcome::Blocked, title: String::new(), summary });
        }
        let cut = reply.stop == StopReason::Length;
        if !text.trim().is_empty() && !cut {
            return Some(Ended { outcome: Outcome::Done, title: one_line(&text, 72), summary: text });
        }
        work.empty += 1;
        if work.empty >= EMPTY_REPLIES {
            let summary = format!("the model gave {EMPTY_REPLIES} replies in a row with nothing to act on");
            return Some(Ended { outcome: Outcome::Failed, title: String::new(), summary });
        }
        if text.is_empty() {
            // providers refuse a message without content
            work.conversation.messages.pop();
        }
        let text = if cut {
            "Your reply was cut at its length. Go on in smaller steps."
        } else {
            "Your reply was empty. Go on with the task, or call `finish`."
        };
        self.tell(work, text);
        None
    }

    /// Why a call of a reply is not made, if it is not. The end of the work is
    /// taken at any time.
    fn reason_to_leave_out(&self, work: &Work, at: usize, name: &str) -> Option<&'static str> {
        if at >= CALLS_PER_REPLY {
            return Some("not run: the reply has more calls than are run of one");
        }
        let late = name != builtin::FINISH && self.time_left(work).is_zero();
        late.then_some("not run: the time of the task is spent")
    }
}

fn ended(finish: Finish) -> Ended {
    Ended {
        outcome: finish.outcome.into(),
        title: one_line(&finish.title, 100),
        summary: strip_escapes(&finish.summary),
    }
}

fn cancelled() -> Ended {
    Ended { outcome: Outcome::Cancelled, title: String::new(), summary: "cancelled".into() }
}

/// Shows a reply while it arrives.
struct Watcher<'a> {
    journal: &'a dyn Journal,
}

impl ReplyObserver for Watcher<'_> {
    fn delta(&self, text: &str) {
        self.journal.append(Event::ModelDelta { text: strip_escapes(text) });
    }

    fn retry(&self, reason: &str, wait: Duration) {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.journal.append(Event::ModelRetried { reason: one_line(reason, 500), wait_ms });
    }
}
