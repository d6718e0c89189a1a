//! The one engine of a host.

use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::{self, Limits};

/// How often a running guest gives way to the others, and how late at most a
/// loop notices that its time is over.
const TICK: Duration = Duration::from_millis(10);

/// Makes the engine, with a pool of instances, or without one where the
/// address space is too short for it.
pub(crate) fn new(limits: &Limits) -> wasmtime::Result<Engine> {
    let engine = match Engine::new(&pooling(limits)) {
        Ok(engine) => engine,
        Err(error) => {
            tracing::warn!(%error, "no pool of instances: each is allocated on demand");
            Engine::new(&on_demand())?
        }
    };
    tick(&engine)?;
    Ok(engine)
}

fn common() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_memory64(false);
    // a policy gives the same verdict on every machine
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config
}

fn pooling(limits: &Limits) -> Config {
    let stores = limits.concurrent_tools.saturating_add(limits.concurrent_policies);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(stores)
        .total_stacks(stores)
        .total_core_instances(stores.saturating_mul(limits::CORE_INSTANCES))
        .total_memories(stores.saturating_mul(limits::MEMORIES))
        .total_tables(stores.saturating_mul(limits::TABLES))
        .max_core_instances_per_component(limits::CORE_INSTANCES)
        .max_memories_per_component(limits::MEMORIES)
        .max_tables_per_component(limits::TABLES)
        .max_tables_per_module(limits::TABLES)
        .max_component_instance_size(4 << 20)
        .table_elements(limits::TABLE_ELEMENTS);
    // these pay only together: kept pages are reset by a scan of the page map
    pool.linear_memory_keep_resident(1 << 20)
        .table_keep_resident(8192)
        .async_stack_keep_resident(16384)
        .pagemap_scan(Enabled::Auto);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Without large reservations, which are what failed.
fn on_demand() -> Config {
    let mut config = common();
    config.memory_reservation(0);
    config.memory_guard_size(64 << 10);
    config.memory_reservation_for_growth(16 << 20);
    config
}

/// Counts epochs on a thread of its own, so that a busy runtime cannot delay
/// it. The thread ends with the engine.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("sortie-epochs".into()).spawn(move || {
        loop {
            std::thread::sleep(TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_a_pool_is_possible() {
        assert!(Engine::new(&on_demand()).is_ok());
    }
}
