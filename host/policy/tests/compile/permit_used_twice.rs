use sortie_core::Actor;
use sortie_core::action::Exec;
use sortie_policy::Gate;
use sortie_policy::ports::Commands;

async fn run(gate: &Gate, commands: &dyn Commands) {
    let permit = gate.permit(&Actor::Agent, Exec::default()).await.expect("permitted");
    let _ = commands.spawn(permit).await;
    let _ = commands.spawn(permit).await;
}

fn main() {
    let _ = run;
}
