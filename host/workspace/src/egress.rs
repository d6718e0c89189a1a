//! The way out: connections of a workspace, and HTTP requests of tools.
//!
//! A workspace has no network of its own. What wants out asks the [`Proxy`]
//! in the host, which makes each connection an action, has the gate decide on
//! it, and has the [`AddressDialer`] carry it out. Tools send theirs through
//! [`ToolHttp`]. Both share a [`Reach`]: names are resolved once, addresses
//! that are not public are left out unless the settings name the host, and
//! what is connected to is what was checked, so a name that resolves
//! differently a moment later gains nothing.
//!
//! ```text
//! workspace -> init's listener -> Proxy -> Gate -> AddressDialer -> Reach -> Wire
//! tool      -> plugin-host     -> Gate -> ToolHttp ------------------^
//! ```
//!
//! Nothing here follows redirects, reads proxy settings of the environment or
//! keeps a connection for another request.

mod address;
mod dial;
mod exchange;
mod fields;
mod http;
mod meter;
mod proxy;
mod reach;
mod target;
mod tls;

pub use address::{Special, special};
pub use dial::AddressDialer;
pub use http::{HttpLimits, ToolHttp};
pub use proxy::{Proxy, ProxyLimits, Traffic};
pub use reach::{Reach, SystemWire, Wire};
pub use tls::{NoRoots, client_config};
