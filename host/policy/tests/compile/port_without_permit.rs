use sortie_core::action::Exec;
use sortie_policy::ports::Commands;

async fn run(commands: &dyn Commands) {
    let _ = commands.spawn(Exec::default()).await;
}

fn main() {
    let _ = run;
}
