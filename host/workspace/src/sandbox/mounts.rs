//! The new root: taking the host's folders, putting them together, and moving in.
//!
//! Sources are *taken* first, as detached copies (`open_tree`), and attached later. That way root can take what
//! only root can reach before it becomes somebody else, and nothing depends on what is mounted over meanwhile.
//! Each copy gets its restrictions, and is cut off from the host's mount, while it is detached: there is no moment at
//! which it is attached without.

#![expect(clippy::disallowed_methods, reason = "makes the sandbox's own root, inside")]

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};

use super::environment::WORKSPACE;
use super::error::{Failure, PRIVATE, PROC, Step};
use super::plan::{Access, Entry, Plan};

/// Where the new root is put together. It covers a folder that every system has, in our namespace alone.
const STAGE: &str = "/tmp";

/// Where init lies inside.
pub(super) const INIT: &str = "/.sortie/init";

/// What nobody can read, to be put over what nobody should.
const NO_FILE: &str = "/.sortie/hidden";
const NO_FOLDER: &str = "/.sortie/hidden.d";

/// Room in the root itself, beside init: our own files, folders to mount on.
const ROOT_BYTES: usize = 24 << 20;

/// Kept readable, but nothing in them can be changed.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// About the machine or other tenants, of no use to a build.
const PROC_HIDDEN: [&str; 10] = [
    "acpi",
    "asound",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
];

/// The host's files and folders, detached, by path.
pub(super) struct Sources(HashMap<PathBuf, OwnedFd>);

impl Sources {
    /// Takes all that the plan binds. What the host has lost since the plan was made is left out if it was only
    /// to be read.
    pub(super) fn take(plan: &Plan) -> Result<Self, Failure> {
        let mut sources = HashMap::new();
        for entry in &plan.entries {
            let Entry::Bind { source, access, .. } = entry else { continue };
            match detach(CWD, source, OpenTreeFlags::empty()) {
                Ok(tree) => {
                    restrict(&tree, *access, true).step(&format!("restrict `{}`", source.display()))?;
                    sources.insert(source.clone(), tree);
                }
                Err(Errno::NOENT) if *access != Access::ReadWrite => {}
                Err(errno) => return Err(errno).step(&format!("take `{}`", source.display())),
            }
        }
        Ok(Self(sources))
    }
}

/// Cuts the namespace's mounts off from the host's.
pub(super) fn make_private() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).step(PRIVATE)
}

/// Puts the new root together and moves in. Returns the masks and read-only paths that were not there.
pub(super) fn build(plan: &Plan, mut sources: Sources, init: &[u8]) -> Result<Vec<PathBuf>, Failure> {
    memory(Path::new("/"), (ROOT_BYTES + init.len()) as u64, 0o755)?;
    write_own(Path::new(INIT), init, 0o555)?;
    write_own(Path::new(NO_FILE), b"", 0)?;
    create_folder(Path::new(NO_FOLDER))?;
    rustix::fs::chmod(stage(Path::new(NO_FOLDER)), Mode::empty()).step("make the hidden folder")?;
    for entry in &plan.entries {
        place(entry, &mut sources)?;
    }
    mount_terminals()?;
    mount_proc()?;
    let unprotected = protect(plan)?;
    for entry in &plan.entries {
        if let Entry::Cover { target } = entry {
            restrict_path(&stage(target))?;
        }
    }
    move_in()?;
    Ok(unprotected)
}

fn stage(target: &Path) -> PathBuf {
    Path::new(STAGE).join(target.strip_prefix("/").unwrap_or(target))
}

fn place(entry: &Entry, sources: &mut Sources) -> Result<(), Failure> {
    match entry {
        Entry::Bind { source, target, .. } => match sources.0.remove(source) {
            Some(tree) => attach(&tree, target),
            None => Ok(()),
        },
        Entry::Link { target, to } => {
            create_parent(target)?;
            symlink(to, stage(target)).step(&format!("make the link `{}`", target.display()))
        }
        Entry::File { target, text } => write_own(target, text.as_bytes(), 0o444),
        Entry::Cover { target } => memory(target, 1 << 20, 0o755),
        Entry::Hide { target } => {
            let name = target.display().to_string();
            let place = open_path(&stage(target)).step(&format!("find `{name}`"))?;
            hide(&place).step(&format!("hide `{name}`"))
        }
        Entry::Memory { target, bytes, mode } => memory(target, *bytes, *mode),
    }
}

fn attach(tree: &OwnedFd, target: &Path) -> Result<(), Failure> {
    let place = stage(target);
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree).step("look at a source")?.st_mode);
    if kind == FileType::Directory {
        create_folder(target)?;
    } else if place.symlink_metadata().is_err() {
        write_own(target, b"", 0o644)?;
    }
    move_mount(tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(&format!("show `{}`", target.display()))
}

fn create_folder(target: &Path) -> Result<(), Failure> {
    fs::create_dir_all(stage(target)).step(&format!("make the folder `{}`", target.display()))
}

fn create_parent(target: &Path) -> Result<(), Failure> {
    target.parent().map_or(Ok(()), create_folder)
}

fn write_own(target: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    create_parent(target)?;
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    let write = || options.open(stage(target))?.write_all(bytes);
    write().step(&format!("write `{}`", target.display()))
}

fn memory(target: &Path, bytes: u64, mode: u32) -> Result<(), Failure> {
    create_folder(target)?;
    // Inodes cost memory that no size limit counts: one for each 4 KiB is what files of any use need.
    let inodes = (bytes / 4096).max(1024);
    let options = format!("size={bytes},nr_inodes={inodes},mode={mode:o}");
    let options = CString::new(options).expect("numbers hold no NUL byte");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", stage(target), "tmpfs", flags, options.as_c_str())
        .step(&format!("mount memory at `{}`", target.display()))
}

fn mount_terminals() -> Result<(), Failure> {
    create_folder(Path::new("/dev/pts"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", stage(Path::new("/dev/pts")), "devpts", flags, c"newinstance,ptmxmode=0666,mode=620")
        .step("mount terminals of its own")
}

fn mount_proc() -> Result<(), Failure> {
    create_folder(Path::new("/proc"))?;
    let proc = stage(Path::new("/proc"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &proc, "proc", flags, None).step(PROC)?;
    for name in PROC_READ_ONLY {
        protect_at(&proc.join(name), freeze)?;
    }
    for name in PROC_HIDDEN {
        protect_at(&proc.join(name), hide)?;
    }
    Ok(())
}

/// Does something to a path, if this kernel has it.
fn protect_at(path: &Path, protect: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>) -> Result<(), Failure> {
    match open_path(path) {
        Ok(place) => protect(&place).step(&format!("protect `{}`", path.display())),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).step(&format!("find `{}`", path.display())),
    }
}

/// Masks and freezes what the plan says, in the work tree. Somebody hostile may have written it: a path is
/// resolved beneath its root by the kernel, and one that leads out is left alone.
fn protect(plan: &Plan) -> Result<Vec<PathBuf>, Failure> {
    let root = open_path(&stage(Path::new(WORKSPACE))).step("find the work tree")?;
    let mut missing = Vec::new();
    let mut each = |paths: &[PathBuf], act: fn(&OwnedFd) -> rustix::io::Result<()>| {
        for path in paths {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
                Ok(place) => act(&place).step(&format!("protect `{}`", path.display()))?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => missing.push(path.clone()),
                Err(errno) => return Err(errno).step(&format!("protect `{}`", path.display())),
            }
        }
        Ok(())
    };
    // A mask hides a frozen path too, so it comes on top.
    each(&plan.read_only, freeze)?;
    each(&plan.masks, hide)?;
    Ok(missing)
}

/// Puts what nobody can read over a file or folder.
fn hide(place: &OwnedFd) -> rustix::io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode);
    let over = if kind == FileType::Directory { NO_FOLDER } else { NO_FILE };
    let tree = detach(CWD, &stage(Path::new(over)), OpenTreeFlags::empty())?;
    restrict(&tree, Access::ReadOnly, false)?;
    attach_over(&tree, place)
}

/// Puts a file or folder over itself, read-only.
fn freeze(place: &OwnedFd) -> rustix::io::Result<()> {
    let tree = detach(place, Path::new(""), OpenTreeFlags::AT_EMPTY_PATH)?;
    restrict(&tree, Access::ReadOnly, true)?;
    attach_over(&tree, place)
}

fn attach_over(tree: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}

fn open_path(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn detach(at: impl AsFd, path: &Path, more: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    // With all that is mounted below: the kernel lets no unprivileged user look beneath a mount.
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(at, path, flags | more)
}

fn restrict(tree: &OwnedFd, access: Access, recursive: bool) -> rustix::io::Result<()> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    match access {
        Access::ReadOnly => {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV
        }
        Access::ReadWrite => attributes |= MountAttrFlags::MOUNT_ATTR_NODEV,
        // A device works on a read-only mount too; only its name cannot be changed.
        Access::Device => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    }
    set_attributes(tree, attributes, recursive)
}

fn restrict_path(path: &Path) -> Result<(), Failure> {
    let place = open_path(path).step(&format!("find `{}`", path.display()))?;
    set_attributes(&place, MountAttrFlags::MOUNT_ATTR_RDONLY, false)
        .step(&format!("make `{}` read-only", path.display()))
}

/// `struct mount_attr`; what is zero stays as it is.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `mount_setattr(2)`, since Linux 5.12.
fn set_attributes(mount: &OwnedFd, set: MountAttrFlags, recursive: bool) -> rustix::io::Result<()> {
    // Private as well: the copy of a mount that the host shares is its twin, and what we put over a file would
    // cover the host's own, even after the sandbox has ended.
    let propagation = MountPropagationFlags::PRIVATE.bits().into();
    let attributes = Attributes { set: set.bits().into(), propagation, ..Attributes::default() };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "rustix has no mount_setattr")]
    // SAFETY: the path is a C string, and the kernel reads `size_of` bytes from `attributes`, which outlives the
    // call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Makes the stage the root. The old one goes on top of it for a moment, and off.
fn move_in() -> Result<(), Failure> {
    rustix::process::chdir(STAGE).step("enter the new root")?;
    rustix::process::pivot_root(".", ".").step("change its root")?;
    unmount(".", UnmountFlags::DETACH).step("let go of the old root")?;
    rustix::process::chdir("/").step("enter the new root")?;
    restrict_path(Path::new("/"))
}
