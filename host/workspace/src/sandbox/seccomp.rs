//! The system calls that no command may make.
//!
//! A list of denials and not of permissions: builds run anything from compilers to browsers, and a new kernel's
//! calls break them otherwise. So the list is long where it counts: all that makes or joins namespaces, mounts,
//! reaches other processes' memory, loads code into the kernel, or opens a part of it with a history of holes.
//! Namespaces and the lack of capabilities stand behind it.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use sortie_init::filter::Instruction;

use super::error::Failure;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Denied whatever the arguments.
const DENIED: &[i64] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Files past their paths.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    // Other processes' memory and descriptors past ptrace's checks.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Keys.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_lookup_dcookie,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    // `open_tree_attr` and `file_setattr`, newer than libc's tables; the same numbers everywhere.
    467,
    469,
];

/// Denied for any process but the caller, which is spelt 0 and in no other way. Whoever has a process's user may change
/// how it is scheduled: with nothing left for process 1 and the keepers, no time limit would be kept, and what is
/// started next would inherit it. On which processors it runs is left to whoever asks: programs pin their threads, each
/// by its number, and a share of one processor is enough for process 1.
const OF_ONES_OWN: [i64; 3] =
    [libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr];

/// The same for calls that reach groups and users as well: with what they have to name, and that is a process.
const OF_ONES_OWN_KIND: [(i64, u64); 2] =
    [(libc::SYS_setpriority, PRIO_PROCESS), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)];
const PRIO_PROCESS: u64 = 0;
const IOPRIO_WHO_PROCESS: u64 = 1;

/// Flags of `clone` that make a namespace. `CLONE_NEWTIME` shares its bit with the signal number there.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Terminal controls that put words into the mouth of who sits at one, or load a line discipline.
const TIOCLINUX: u64 = 0x541c;
const TIOCSETD: u64 = 0x5423;

/// What takes a file out of its project, and with it out of its quota: `FS_IOC_FSSETXATTR` and `FS_IOC_SETFLAGS`. The
/// kernel allows that to a file's owner wherever there is no user namespace, as in most containers.
const FSSETXATTR: u64 = 0x401c_5820;
const SETFLAGS: u64 = 0x4008_6602;

/// Sockets that a build needs. The rest (VSOCK, ALG, PACKET, …) has parts that no network namespace holds.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Restricts this process and all that it starts, for good.
pub(super) fn restrict() -> Result<(), Failure> {
    let filters = filters().map_err(|error| failure(&error))?;
    for filter in &filters {
        apply_filter(filter).map_err(|error| failure(&error))?;
    }
    Ok(())
}

/// The same filters for init to put on itself, in the form that it reads ([`sortie_init::filter`]).
pub(crate) fn filter_file() -> Result<Vec<u8>, String> {
    let filters = filters().map_err(|error| error.to_string())?;
    let programs = filters.iter().map(|program| {
        program
            .iter()
            .map(|line| Instruction { code: line.code, jt: line.jt, jf: line.jf, k: line.k })
            .collect()
    });
    Ok(sortie_init::filter::encode(programs))
}

fn failure(error: &dyn std::fmt::Display) -> Failure {
    Failure { step: format!("restrict its system calls ({error})"), errno: 0 }
}

fn filters() -> Result<[BpfProgram; 4], seccompiler::BackendError> {
    // `clone3` has its flags in memory, where no filter can see them. "No such call" makes every libc use
    // `clone`, whose flags are an argument.
    let hidden = Rules::from([(libc::SYS_clone3, Vec::new())]);
    // Programs that add users give up if auditing is there and not for them, and go on where a kernel has none.
    let audit = all([
        condition(0, Width::Dword, Op::Eq, u64::from(libc::AF_NETLINK.unsigned_abs()))?,
        condition(2, Width::Dword, Op::Eq, u64::from(libc::NETLINK_AUDIT.unsigned_abs()))?,
    ])?;
    let audit = compile(Rules::from([(libc::SYS_socket, vec![audit])]), libc::EPROTONOSUPPORT)?;
    Ok([compile(denied()?, libc::EPERM)?, compile(hidden, libc::ENOSYS)?, audit, foreign_numbers()])
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, errno, architecture)?.try_into()
}

fn denied() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|number| (*number, Vec::new())).collect();
    let mut namespaces = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        namespaces.push(all([condition(0, Width::Qword, Op::MaskedEq(flag), flag)?])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    let mut controls = Vec::new();
    for request in [libc::TIOCSTI, TIOCLINUX, TIOCSETD, FSSETXATTR, SETFLAGS] {
        controls.push(all([condition(1, Width::Dword, Op::Eq, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, controls);
    // Whoever has a process's user may set its limits: without descriptors, process 1 and the keepers would be blind.
    rules.insert(libc::SYS_prlimit64, vec![all([condition(0, Width::Dword, Op::Ne, 0)?])?]);
    for number in OF_ONES_OWN {
        rules.insert(number, vec![all([condition(0, Width::Dword, Op::Ne, 0)?])?]);
    }
    for (number, process) in OF_ONES_OWN_KIND {
        let other_kind = all([condition(0, Width::Dword, Op::Ne, process)?])?;
        rules.insert(number, vec![other_kind, all([condition(1, Width::Dword, Op::Ne, 0)?])?]);
    }
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_socketpair, sockets()?);
    rules.insert(libc::SYS_mknodat, devices(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, devices(1)?);
    Ok(rules)
}

/// All families but ours, and of netlink all but the plain questions about interfaces and addresses. Auditing has a
/// filter of its own.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let mut others = Vec::new();
    for family in FAMILIES {
        others.push(condition(0, Width::Dword, Op::Ne, u64::from(family.unsigned_abs()))?);
    }
    let netlink = u64::from(libc::AF_NETLINK.unsigned_abs());
    let route = u64::from(libc::NETLINK_ROUTE.unsigned_abs());
    let audit = u64::from(libc::NETLINK_AUDIT.unsigned_abs());
    let netlink = [
        condition(0, Width::Dword, Op::Eq, netlink)?,
        condition(2, Width::Dword, Op::Ne, route)?,
        condition(2, Width::Dword, Op::Ne, audit)?,
    ];
    Ok(vec![SeccompRule::new(others)?, all(netlink)?])
}

/// Nodes for devices; pipes with names, which `mknod` makes as well, remain.
fn devices(mode: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let kinds = [libc::S_IFCHR, libc::S_IFBLK];
    let rule = |kind: libc::mode_t| {
        all([condition(mode, Width::Dword, Op::MaskedEq(libc::S_IFMT.into()), kind.into())?])
    };
    kinds.into_iter().map(rule).collect()
}

fn condition(
    argument: u8,
    width: Width,
    operator: Op,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, width, operator, value)
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into())
}

/// seccompiler looks at the architecture but not at x86's second set of numbers (x32), whose calls would walk
/// past a list of denials. There is no such call here.
fn foreign_numbers() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const FIRST_FOREIGN: u32 = 0x4000_0000;
    let line = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    vec![
        line(LOAD_NUMBER, 0, 0),
        line(JUMP_IF_AT_LEAST, 1, FIRST_FOREIGN),
        line(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        line(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile() {
        let filters = filters().expect("the rules are well formed");
        assert!(filters.iter().all(|filter| !filter.is_empty()));
    }

    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;

    /// What the filters make of a call: the first answer that is not to allow it.
    fn answer(number: i64) -> u32 {
        answer_to(number, [0; 6])
    }

    fn answer_to(number: i64, arguments: [u64; 6]) -> u32 {
        let mut data = i32::try_from(number).expect("numbers are small").to_ne_bytes().to_vec();
        data.extend(ARCHITECTURE.to_ne_bytes());
        // Where the call was made, and its arguments.
        data.extend([0; 8]);
        data.extend(arguments.into_iter().flat_map(u64::to_ne_bytes));
        let filters = filters().expect("the rules are well formed");
        let mut answers = filters.iter().map(|filter| run(filter, &data));
        answers.find(|answer| *answer != libc::SECCOMP_RET_ALLOW).unwrap_or(libc::SECCOMP_RET_ALLOW)
    }

    fn run(program: &[sock_filter], data: &[u8]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let line = &program[at];
            at += 1;
            let place = usize::try_from(line.k).expect("32 bits fit");
            let jump = |holds| usize::from(if holds { line.jt } else { line.jf });
            match line.code {
                0x20 => value = u32::from_ne_bytes(data[place..][..4].try_into().expect("four bytes")),
                0x05 => at += place,
                0x15 => at += jump(value == line.k),
                0x25 => at += jump(value > line.k),
                0x35 => at += jump(value >= line.k),
                0x54 => value &= line.k,
                0x06 => return line.k,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    fn refused(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
    }

    /// Most kernels have none of these calls, so that an attempt inside can not tell whether the filter did.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn there_is_no_second_set_of_numbers() {
        const FOREIGN: i64 = 0x4000_0000;
        for number in [FOREIGN, FOREIGN | libc::SYS_getpid, FOREIGN | libc::SYS_ptrace, 0x7fff_ffff] {
            assert_eq!(answer(number), refused(libc::ENOSYS), "{number:#x}");
        }
        assert_eq!(answer(FOREIGN - 1), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn of_netlink_there_are_plain_questions_alone_and_auditing_is_not_there() {
        let socket = |family: i32, protocol: i32| {
            let [family, kind, protocol] =
                [family, libc::SOCK_RAW, protocol].map(|value| value.unsigned_abs().into());
            answer_to(libc::SYS_socket, [family, kind, protocol, 0, 0, 0])
        };
        assert_eq!(socket(libc::AF_NETLINK, libc::NETLINK_AUDIT), refused(libc::EPROTONOSUPPORT));
        assert_eq!(socket(libc::AF_NETLINK, libc::NETLINK_NETFILTER), refused(libc::EPERM));
        assert_eq!(socket(libc::AF_NETLINK, libc::NETLINK_ROUTE), libc::SECCOMP_RET_ALLOW);
        assert_eq!(socket(libc::AF_INET, libc::NETLINK_AUDIT), libc::SECCOMP_RET_ALLOW);
    }

    /// The kernel refuses these to the unprivileged before it looks at anything else, so that an attempt inside
    /// can not tell whether the filter did; the last ones only some kernels, or some settings of theirs.
    #[test]
    fn calls_that_take_privileges_are_denied_by_the_filter_as_well() {
        for number in [
            libc::SYS_pivot_root,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_kexec_load,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_reboot,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_syslog,
            libc::SYS_vhangup,
            libc::SYS_open_by_handle_at,
            libc::SYS_bpf,
            libc::SYS_lookup_dcookie,
            libc::SYS_fanotify_init,
            libc::SYS_io_uring_setup,
        ] {
            assert_eq!(answer(number), refused(libc::EPERM), "{number}");
        }
        assert_eq!(answer(libc::SYS_read), libc::SECCOMP_RET_ALLOW);
    }
}
