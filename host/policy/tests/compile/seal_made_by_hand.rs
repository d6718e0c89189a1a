use sortie_policy::Seal;

fn main() {
    let _ = Seal([0; 16]);
}
