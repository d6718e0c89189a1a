//! Files and egress, through their ports and a real gate.

mod file_changes;
mod file_escapes;
mod file_surveys;
mod proxy;
mod proxy_bounds;
mod reach;
mod servers;
mod support;
mod tool_http;
