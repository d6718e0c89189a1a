//! Isolated workspaces: the built-in sandbox, the client of init, files beneath the root, the egress proxy.
