//! Loads WebAssembly components and runs each call in a fresh, limited instance.
