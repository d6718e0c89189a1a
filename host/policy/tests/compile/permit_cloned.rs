use sortie_core::action::Exec;
use sortie_policy::Permit;

fn twice(permit: Permit<Exec>) -> (Permit<Exec>, Permit<Exec>) {
    (permit.clone(), permit)
}

fn main() {
    let _ = twice;
}
