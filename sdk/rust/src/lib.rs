//! Write Sortie tools and policies in Rust.
#[doc(hidden)]
pub mod bindings;
