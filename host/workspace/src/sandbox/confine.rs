//! Gives up what the helper could do: limits first, then privileges, so that no limit can be raised again.

#![expect(clippy::disallowed_methods, reason = "runs inside, before the first command")]

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use super::error::{Failure, Step};
use super::limits::Limits;

/// Capabilities end well below this; the kernel says where.
const CAPABILITIES: u32 = 64;

/// Sets the limits of processes. With `bound_memory` they stand in for a cgroup.
pub(super) fn limit(limits: &Limits, bound_memory: bool) -> Result<(), Failure> {
    set(Resource::Core, 0)?;
    set(Resource::Fsize, limits.file)?;
    set(Resource::Nofile, limits.open_files)?;
    if bound_memory {
        // Counted in the new user namespace alone, so other processes of this user do not matter.
        set(Resource::Nproc, limits.processes)?;
        set(Resource::Data, limits.memory)?;
    }
    Ok(())
}

/// A limit can be lowered by anybody and raised by nobody in here: never above what we have.
fn set(resource: Resource, wanted: u64) -> Result<(), Failure> {
    let value = getrlimit(resource).maximum.map_or(wanted, |maximum| maximum.min(wanted));
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
        .step(&format!("set the limit {resource:?}"))
}

/// Brings the loopback interface of the new network namespace up.
pub(super) fn raise_loopback() -> Result<(), Failure> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .step("open a socket")?;
    loopback::raise(&socket).step("raise the loopback interface")
}

/// Names the new host after us: the host's own name is nobody's business.
pub(super) fn rename_host() -> Result<(), Failure> {
    rustix::system::sethostname(b"sortie").step("name its host")
}

/// Gives up all capabilities and every way to new ones. Ties the process to the helper that waits for it.
pub(super) fn give_up_privileges() -> Result<(), Failure> {
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno).step("empty the bounding set"),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).step("lock its secure bits")?;
    clear_ambient_capability_set().step("clear the ambient set")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).step("give up its capabilities")?;
    set_no_new_privs(true).step("refuse new privileges")?;
    // After the last change of credentials, which clears it. Beside the control socket's hang-up, in case the
    // waiting helper alone is killed.
    set_parent_process_death_signal(Some(Signal::KILL)).step("follow the helper's end")
}

mod loopback {
    use std::os::fd::{AsRawFd, OwnedFd};

    /// `SIOCSIFFLAGS` with up and running for `lo`.
    pub(super) fn raise(socket: &OwnedFd) -> std::io::Result<()> {
        #[expect(unsafe_code, reason = "rustix cannot set an interface's flags")]
        // SAFETY: `ifreq` is plain data for which zeroes are valid; the kernel reads it during the call.
        let status = unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
            request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
        };
        if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}
