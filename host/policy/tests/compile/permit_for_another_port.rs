use sortie_core::Actor;
use sortie_core::action::NetworkConnect;
use sortie_policy::Gate;
use sortie_policy::ports::Commands;

async fn run(gate: &Gate, commands: &dyn Commands) {
    let connect = NetworkConnect { host: "example.org".into(), port: 443, request: None };
    let permit = gate.permit(&Actor::Agent, connect).await.expect("permitted");
    let _ = commands.spawn(permit).await;
}

fn main() {
    let _ = run;
}
