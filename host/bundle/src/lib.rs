//! The first-party components and init, as bytes.
//!
//! The build script builds them (see `build.rs`). Nothing is special about
//! the components but where their bytes lie: `cli` hands them to the same
//! loader, with settings and grants, as anyone's.

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It offers tools.
    Tool,
    /// It decides on actions.
    Policy,
}

/// A first-party component.
#[derive(Clone, Copy)]
pub struct Component {
    /// Its plugin id, such as `shell`.
    pub id: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its WebAssembly bytes.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// The first-party components.
pub fn components() -> &'static [Component] {
    COMPONENTS
}

/// Process 1 of a workspace: a static executable for this architecture.
pub fn init() -> &'static [u8] {
    INIT_BYTES
}
