//! What bindgen makes of `wit/`: the host's interfaces once, and the exports
//! of the two kinds of component.

/// A tool, with every interface that a tool may be given.
pub(crate) mod tool {
    wasmtime::component::bindgen!({
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
        ],
        inline: "
            package sortie:tool-host;
            world tool-host {
                import sortie:host/config@0.1.0;
                import sortie:host/control@0.1.0;
                import sortie:host/exec@0.1.0;
                import sortie:host/files@0.1.0;
                import sortie:host/git@0.1.0;
                import sortie:host/telemetry@0.1.0;
                export sortie:tool/tool@0.1.0;
            }
        ",
        world: "sortie:tool-host/tool-host",
        imports: { default: async | trappable },
        exports: { default: async },
        trappable_error_type: { "sortie:host/types.error" => crate::failure::HostError },
        with: { "sortie:host/exec.process": crate::interfaces::exec::Handle },
    });
}

/// A policy.
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: ["../../wit/host", "../../wit/policy"],
        inline: "
            package sortie:policy-host;
            world policy-host {
                import sortie:host/config@0.1.0;
                import sortie:host/telemetry@0.1.0;
                export sortie:policy/policy@0.1.0;
            }
        ",
        world: "sortie:policy-host/policy-host",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "sortie:host/types": super::tool::sortie::host::types,
            "sortie:host/config": super::tool::sortie::host::config,
            "sortie:host/telemetry": super::tool::sortie::host::telemetry,
        },
    });
}

pub(crate) use tool::sortie::host;
