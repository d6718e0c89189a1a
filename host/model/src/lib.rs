//! Models: the conversation goes out in a provider's own terms, a whole reply
//! comes back in ours.
//!
//! | provider | wire API | key and base URL |
//! |---|---|---|
//! | `openai` | OpenAI Responses | `OPENAI_API_KEY`, `OPENAI_BASE_URL` |
//! | `openai-chat` | OpenAI Chat Completions, which vLLM, Ollama, llama.cpp, LiteLLM and others speak | the same |
//! | `anthropic` | Anthropic Messages | `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL` |
//! | `scripted` | none: replies are read from a file ([`scripted`]) | none |
//!
//! The path of a request: [`connect`] checks the [`ModelSpec`] against the
//! [`Environment`] and gives a [`Model`](sortie_policy::ports::Model). Its
//! `respond` redeems the permit, lets the wire API write the body, and sends
//! it; the stream is cut into events, which the wire API puts together to a
//! reply. What fails for a passing reason is tried again, as [`Retries`] says.
//!
//! Whatever a server sends is bounded and distrusted. Redirects are not
//! followed. A key is never part of a message: texts from outside are
//! scrubbed of it, rid of terminal escapes, and shortened.
//!
//! ```
//! use sortie_model::{Environment, ModelSpec, Options};
//!
//! let spec: ModelSpec = "openai-chat/qwen3-coder".parse()?;
//! assert_eq!((spec.provider().name(), spec.name()), ("openai-chat", "qwen3-coder"));
//! # Ok::<(), sortie_model::SpecError>(())
//! ```

mod connect;
mod endpoint;
mod environment;
mod failure;
mod json;
mod options;
mod remote;
mod retry;
pub mod scripted;
mod spec;
mod sse;
mod turns;
mod wire;

pub use connect::{ConnectError, connect};
pub use environment::Environment;
pub use options::{Options, ReasoningEffort, Retries, Timeouts, UnknownEffort};
pub use spec::{ModelSpec, Provider, SpecError};
