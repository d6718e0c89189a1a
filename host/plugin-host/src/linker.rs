//! What a component is linked with: base WASI always, and of the rest only
//! what was granted, so that an interface that was not granted is not there.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::host;
use crate::grants::Grants;
use crate::spec::PluginKind;
use crate::state::State;

type Own = HasSelf<State>;

pub(crate) fn new(engine: &Engine, kind: PluginKind, grants: &Grants) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    host::types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    host::config::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    host::telemetry::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    if kind == PluginKind::Policy {
        return Ok(linker);
    }
    host::control::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    if grants.any_exec() {
        host::exec::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    }
    if grants.any_files() {
        host::files::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    }
    if grants.any_git() {
        host::git::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    }
    if grants.any_http() {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}
