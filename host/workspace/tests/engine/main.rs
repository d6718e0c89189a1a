//! What an environment needs of a container engine. `SORTIE_TEST_IMAGE` names an image with a shell, Python and the C
//! library that these tests are linked with; without it there is nothing to test with. The test binary is init.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests play the outside: they make folders and ask the engine's own client"
)]

mod build;
mod commit;
mod credentials;
mod give_back;
#[path = "../shared/registry.rs"]
mod registry;
#[path = "../shared/running.rs"]
mod running;
mod search;
mod services;
mod setup;
mod support;
mod written;
