use sortie_core::action::Exec;
use sortie_policy::{Permit, Seal};

fn make(seal: Seal) -> Permit<Exec> {
    Permit { action: Exec::default(), seal }
}

fn main() {
    let _ = make;
}
