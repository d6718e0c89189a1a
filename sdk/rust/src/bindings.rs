//! What wit-bindgen makes of `wit/`: the host's interfaces once, and the two
//! kinds of component beside them, so that a component carries only the
//! exports of its own kind and the imports that it uses.

/// wit-bindgen over all of `wit/`, each package after those that it uses.
macro_rules! generate {
    ({ $($options:tt)* }) => {
        wit_bindgen::generate!({
            path: [
                "../../wit/deps/io.wit",
                "../../wit/deps/clocks.wit",
                "../../wit/deps/random.wit",
                "../../wit/deps/filesystem.wit",
                "../../wit/deps/sockets.wit",
                "../../wit/deps/cli.wit",
                "../../wit/deps/http.wit",
                "../../wit/host",
                "../../wit/tool",
                "../../wit/policy",
            ],
            $($options)*
        });
    };
}

/// Interfaces of the host.
pub mod host {
    generate!({
        inline: "
            package sortie:sdk-host;
            world sdk-host {
                import sortie:host/config@0.1.0;
                import sortie:host/control@0.1.0;
                import sortie:host/exec@0.1.0;
                import sortie:host/files@0.1.0;
                import sortie:host/git@0.1.0;
                import sortie:host/telemetry@0.1.0;
            }
        ",
        world: "sortie:sdk-host/sdk-host",
        additional_derives: [PartialEq],
        generate_all,
    });
}

/// What a tool exports.
pub mod tool {
    generate!({
        inline: "
            package sortie:sdk-tool;
            world sdk-tool {
                export sortie:tool/tool@0.1.0;
            }
        ",
        world: "sortie:sdk-tool/sdk-tool",
        with: { "sortie:host/types@0.1.0": super::host::sortie::host::types },
        pub_export_macro: true,
        default_bindings_module: "sortie_sdk::bindings::tool",
    });
}

/// What a policy exports.
pub mod policy {
    generate!({
        inline: "
            package sortie:sdk-policy;
            world sdk-policy {
                export sortie:policy/policy@0.1.0;
            }
        ",
        world: "sortie:sdk-policy/sdk-policy",
        with: { "sortie:host/types@0.1.0": super::host::sortie::host::types },
        pub_export_macro: true,
        default_bindings_module: "sortie_sdk::bindings::policy",
    });
}

/// Outbound HTTP.
#[cfg(feature = "http")]
pub mod http {
    generate!({
        inline: "
            package sortie:sdk-http;
            world sdk-http {
                import wasi:http/types@0.2.12;
                import wasi:http/outgoing-handler@0.2.12;
            }
        ",
        world: "sortie:sdk-http/sdk-http",
        generate_all,
    });
}
