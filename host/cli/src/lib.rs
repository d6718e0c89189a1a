//! Arguments, settings, commands, printing, and the assembly of a run.
