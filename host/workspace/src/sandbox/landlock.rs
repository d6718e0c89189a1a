//! Landlock, where the kernel has it: the mounts' rules once more, kept by another part of the kernel.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};

use super::environment::{HOME, WORKSPACE};
use super::error::Failure;

/// What we know and ask for; an older kernel applies what it knows.
const ASKED: ABI = ABI::V6;

/// Folders that commands write to. Which of these may be written is the mounts' business.
const WRITABLE: [&str; 6] = [WORKSPACE, HOME, "/tmp", "/run", "/dev", "/proc"];

/// Restricts this process for good. Returns the version that applies; none if the kernel has no Landlock.
pub(super) fn restrict() -> Result<Option<u32>, Failure> {
    let failed = |error: landlock::RulesetError| Failure {
        step: format!("restrict itself with Landlock ({error})"),
        errno: 0,
    };
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ASKED))
        .map_err(failed)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .map_err(failed)?
        .create()
        .map_err(failed)?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(ASKED)))
        .map_err(failed)?
        .add_rules(path_beneath_rules(WRITABLE, AccessFs::from_all(ASKED)))
        .map_err(failed)?;
    let status = ruleset.restrict_self().map_err(failed)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as u32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    })
}
