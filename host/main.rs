//! The `sortie` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // the sandbox re-executes this program as its helper; that must come before any thread exists
    sortie_workspace::sandbox::helper_main_if_requested();
    sortie_cli::main()
}
