//! The `sortie-init` binary: see the library for what it does.

fn main() {
    sortie_init::main()
}
