//! The `sortie` command.

use std::process::ExitCode;

// a fresh instance for every call allocates a few hundred small things and frees them together
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // the sandbox re-executes this program as its helper; that must come before any thread exists
    sortie_workspace::sandbox::helper_main_if_requested();
    sortie_cli::main()
}
