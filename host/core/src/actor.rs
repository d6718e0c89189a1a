//! Who acts.

use std::fmt;

/// Who is about to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The platform itself: clone, set-up, baseline, verification, delivery.
    Host,
    /// The person who handed the task in.
    User,
    /// The model, through the agent.
    Agent,
    /// A tool, on behalf of the model; the name is the plugin's.
    Tool(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::User => f.write_str("user"),
            Self::Agent => f.write_str("agent"),
            Self::Tool(name) => write!(f, "tool:{name}"),
        }
    }
}
