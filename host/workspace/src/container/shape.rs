//! What the engine is asked to make: a pure function from our configuration to its request.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountType,
};

use sortie_core::action::Stage;

use super::engine::{About, EngineKind};
use super::folder::{self, Folder};
use super::image::Image;
use super::{ContainerConfig, OWNER_LABEL, TASK_LABEL};
use crate::sandbox::{HOME, Keeper, Limits, Owner, WORKSPACE};

/// `/run` in bytes.
const RUN: u64 = 16 << 20;

/// Parts of `/proc` and `/sys` that are emptied: those that the engine empties by itself, and what more tells of
/// the kernel than a build needs.
const MASKED: [&str; 15] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel",
];

/// What root of a container may do that commands are root of: what installing a system's packages takes. Ending
/// processes is init's need: without it, those that gave root up would outlive their command.
const OF_ROOT: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];

/// The request, and the masks and read-only paths that are not there to be protected.
pub(super) fn container(
    config: &ContainerConfig,
    engine: &About,
    image: &Image,
    folder: &Folder,
) -> (ContainerCreateBody, Vec<PathBuf>) {
    let user = if config.root { Owner { uid: 0, gid: 0 } } else { user(engine) };
    let (mut mounts, unprotected) = mounts(config, folder);
    // a set-up as root may add users; and where one did, its users are the image's from then on
    if !config.root && !image.knows_users {
        mounts.push(mount(&folder.users(), "/etc/passwd".into(), true));
        mounts.push(mount(&folder.groups(), "/etc/group".into(), true));
    }
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    let body = ContainerCreateBody {
        image: Some(config.image.clone()),
        // the image's own would run before, or instead of, init
        entrypoint: Some(Folder::process_1(&config.limits)),
        cmd: Some(Vec::new()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        user: Some(user.to_string()),
        working_dir: Some("/".to_owned()),
        hostname: Some("sortie".to_owned()),
        // on top of a network of none; but with this, Docker leaves names out of the file of hosts, and of what joins
        // this network, as the steps of a build do, it counts nothing
        network_disabled: Some(config.services.is_empty() && config.stage == Stage::Work),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.clone())).into()),
        host_config: Some(host_config(config, engine, &image.security, mounts)),
        ..ContainerCreateBody::default()
    };
    (body, unprotected)
}

fn host_config(
    config: &ContainerConfig,
    engine: &About,
    security: &[String],
    mounts: Vec<Mount>,
) -> HostConfig {
    let limits = &config.limits;
    let tmpfs = |path: &str, bytes: u64| (path.to_owned(), tmpfs_options(engine, bytes));
    HostConfig {
        network_mode: Some("none".to_owned()),
        // it ends with its host, whatever happens to that one, and leaves nothing behind
        auto_remove: Some(true),
        cap_add: config.root.then(|| OF_ROOT.map(str::to_owned).into()),
        security_opt: Some(security_options(security).into_iter().chain(masks(engine)).collect()),
        readonly_rootfs: Some(config.stage == Stage::Work),
        masked_paths: Some(MASKED.map(str::to_owned).into()),
        tmpfs: Some(HashMap::from([
            tmpfs("/tmp", limits.tmp),
            tmpfs("/var/tmp", limits.tmp),
            tmpfs("/run", RUN),
        ])),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        mounts: Some(mounts),
        // services listen in the same network
        extra_hosts: Some(
            config.services.iter().map(|service| format!("{}:127.0.0.1", service.name)).collect(),
        ),
        ..limited(engine, security, limits)
    }
}

/// What holds for every container of ours: no capability that is not added, and no namespace of somebody else's but the
/// network that it is given.
pub(super) fn confined(engine: &About, security: &[String]) -> HostConfig {
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(security_options(security)),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        userns_mode: userns(engine),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        init: Some(false),
        ..HostConfig::default()
    }
}

/// The same within limits. What the engine cannot keep was accepted, and would be an error to some.
pub(super) fn limited(engine: &About, security: &[String], limits: &Limits) -> HostConfig {
    let kept = engine.enforced();
    let memory = (kept.memory == Keeper::Cgroup).then(|| signed(limits.memory));
    HostConfig {
        shm_size: Some(signed(limits.shared_memory)),
        memory,
        // together with swap, of which there is none then
        memory_swap: memory,
        pids_limit: (kept.processes == Keeper::Cgroup).then(|| signed(limits.processes)),
        nano_cpus: limits.cpus.filter(|_| kept.cpus).map(nanos),
        ..confined(engine, security)
    }
}

/// Podman takes no note of masked paths where Docker has them.
fn masks(engine: &About) -> Option<String> {
    (engine.kind == EngineKind::Podman).then(|| format!("mask={}", MASKED.join(":")))
}

/// How a folder in memory is mounted, which everybody can write to.
fn tmpfs_options(engine: &About, bytes: u64) -> String {
    let common = format!("rw,nosuid,nodev,exec,size={bytes},mode=1777");
    // runc puts the mode of the image's folder in the place of ours, so that the owner counts as well
    let Owner { uid, gid } = user(engine);
    let names = (bytes / 4096).max(1024);
    match engine.kind {
        EngineKind::Docker => format!("{common},nr_inodes={names},uid={uid},gid={gid}"),
        // It refuses what it does not know, which are owners and the number of names: what these take up counts as
        // memory. Nor is what the image has there copied.
        EngineKind::Podman => format!("{common},notmpcopyup"),
    }
}

/// The engine's own profiles stay on. Only SELinux's labels are not for folders of the user's, which it would
/// have to relabel.
fn security_options(of_engine: &[String]) -> Vec<String> {
    let mut options = vec!["no-new-privileges".to_owned()];
    if of_engine.iter().any(|option| option.contains("selinux")) {
        options.push("label=disable".to_owned());
    }
    options
}

/// Who the commands are inside. A rootless Docker maps its root to the user who runs it.
pub(super) fn user(engine: &About) -> Owner {
    match (engine.kind, engine.rootless) {
        (EngineKind::Docker, true) => Owner { uid: 0, gid: 0 },
        _ => Owner::current(),
    }
}

/// Whose ids the container's are: our own, so that what commands write is the owner's on the host.
fn userns(engine: &About) -> Option<String> {
    match (engine.kind, engine.rootless) {
        (EngineKind::Podman, true) => Some("keep-id".to_owned()),
        (EngineKind::Docker, true) => None,
        _ => Some("host".to_owned()),
    }
}

fn mounts(config: &ContainerConfig, folder: &Folder) -> (Vec<Mount>, Vec<PathBuf>) {
    let mut mounts = vec![
        mount(&config.work_tree, WORKSPACE.into(), false),
        mount(&config.home, HOME.into(), false),
        mount(folder.path(), folder::INSIDE.into(), true),
    ];
    let mut unprotected = Vec::new();
    let masked = config.masks.iter().map(|path| (path, true));
    let read_only = config.read_only.iter().map(|path| (path, false));
    // what leads out of the work tree is none of its paths
    for (path, masked) in masked.chain(read_only).filter(|(path, _)| is_beneath(path)) {
        let Some(is_folder) = plain(&config.work_tree, path) else {
            unprotected.push(path.clone());
            continue;
        };
        let source = if masked { folder.cover(is_folder) } else { config.work_tree.join(path) };
        mounts.push(mount(&source, Path::new(WORKSPACE).join(path), true));
    }
    (mounts, unprotected)
}

fn is_beneath(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether a path of the work tree is a folder. `None` if it is not there, or if a link is on the way: the engine
/// would follow it, to wherever the repository likes. Nothing runs in the workspace yet, so it stays as it is.
pub(super) fn plain(root: &Path, path: &Path) -> Option<bool> {
    let mut at = root.to_owned();
    let mut is_folder = None;
    for part in path.components() {
        match part {
            Component::CurDir => continue,
            Component::Normal(name) => at.push(name),
            _ => return None,
        }
        let kind = std::fs::symlink_metadata(&at).ok()?.file_type();
        is_folder = if kind.is_dir() { Some(true) } else { Some(false).filter(|_| kind.is_file()) };
        is_folder?;
    }
    is_folder
}

/// Not in the form `source:target`: file names may hold colons.
pub(super) fn mount(source: &Path, target: PathBuf, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_string_lossy().into_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// A limit that was asked for and that the engine, by its own word, does not keep: where it cannot, it drops limits
/// and makes the container all the same.
pub(super) fn unkept(asked: &HostConfig, kept: &HostConfig) -> Option<&'static str> {
    let limits = [
        ("memory", asked.memory, kept.memory),
        ("processes", asked.pids_limit, kept.pids_limit),
        ("processor time", asked.nano_cpus, kept.nano_cpus),
    ];
    // Podman rounds
    let keeps = |asked: i64, kept: Option<i64>| kept.is_some_and(|kept| (1..=asked).contains(&kept));
    let unkept = limits.into_iter().find(|(_, asked, kept)| asked.is_some_and(|asked| !keeps(asked, *kept)));
    unkept.map(|(name, ..)| name)
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, and nobody has nine billion processors")]
fn nanos(cpus: f64) -> i64 {
    (cpus * 1e9) as i64
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn about(kind: EngineKind, rootless: bool) -> About {
        About {
            kind,
            rootless,
            version: String::new(),
            socket: PathBuf::new(),
            named: String::new(),
            cgroups: 2,
            lacks: Vec::new(),
        }
    }

    #[test]
    fn a_path_behind_a_link_is_not_mounted() {
        let tree = tempfile::tempdir().expect("a folder");
        let root = tree.path();
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::write(root.join("a/f"), "").expect("written");
        symlink("/etc", root.join("link")).expect("linked");
        symlink("a", root.join("to-a")).expect("linked");
        assert_eq!(plain(root, Path::new("a/b")), Some(true));
        assert_eq!(plain(root, Path::new("./a/f")), Some(false));
        for path in ["link", "link/passwd", "to-a/f", "none", "../a", "/etc", "a/f/x", ""] {
            assert_eq!(plain(root, Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn nothing_of_an_images_own_runs_and_nothing_is_left_open() {
        let outside = tempfile::tempdir().expect("a folder");
        let path = outside.path();
        let [folder, work_tree, home] = ["container", "work", "home"].map(|name| path.join(name));
        let config = ContainerConfig {
            task: "task-222222".to_owned(),
            owner: "me".to_owned(),
            limits: Limits { cpus: Some(1.5), memory: 7 << 20, processes: 9, ..Limits::default() },
            ..ContainerConfig::new("any", Vec::new(), folder, work_tree, home)
        };
        let own = Owner::current();
        let (folder, _listener) = Folder::make(&config.folder, b"", b"", None, own).expect("it is made");
        let (docker, image) = (about(EngineKind::Docker, false), Image::default());
        let (body, _) = container(&config, &docker, &image, &folder);
        assert_eq!(
            body.entrypoint.as_deref().and_then(<[_]>::first).map(String::as_str),
            Some("/.sortie/init")
        );
        assert_eq!(body.cmd, Some(Vec::new()));
        assert_eq!(body.healthcheck.and_then(|check| check.test), Some(vec!["NONE".to_owned()]));
        assert_eq!(body.user, Some(format!("{}:{}", own.uid, own.gid)));
        assert_eq!(body.network_disabled, Some(true));
        let host = body.host_config.expect("there is one");
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(
            (host.auto_remove, host.readonly_rootfs, host.privileged),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!((host.cap_drop, host.cap_add), (Some(vec!["ALL".to_owned()]), None));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::PRIVATE));
        assert_eq!(host.ipc_mode.as_deref(), Some("private"));
        let masked = [
            "/proc/acpi",
            "/proc/asound",
            "/proc/config.gz",
            "/proc/kallsyms",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/vmallocinfo",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
            "/sys/kernel",
        ];
        assert_eq!(host.masked_paths, Some(masked.map(str::to_owned).into()));
        assert_eq!(host.shm_size, Some(256 << 20));
        assert_eq!(host.log_config.and_then(|log| log.typ).as_deref(), Some("none"));
        let labels = [(TASK_LABEL, "task-222222"), (OWNER_LABEL, "me")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(body.labels, Some(labels.into()));
        assert_eq!((host.memory, host.memory_swap), (Some(7 << 20), Some(7 << 20)));
        assert_eq!((host.pids_limit, host.nano_cpus), (Some(9), Some(1_500_000_000)));
        assert!(
            host.tmpfs
                .expect("some")
                .values()
                .all(|options| options.contains("nosuid,nodev") && options.contains("size="))
        );
        let writable: Vec<_> =
            host.mounts.expect("some").into_iter().filter(|mount| mount.read_only != Some(true)).collect();
        let writable: Vec<_> = writable.iter().filter_map(|mount| mount.target.as_deref()).collect();
        assert_eq!(writable, [WORKSPACE, HOME]);
        let lacking = About { lacks: vec!["memory", "processes"], ..about(EngineKind::Podman, true) };
        let (body, _) = container(&config, &lacking, &image, &folder);
        let host = body.host_config.expect("there is one");
        assert_eq!((host.memory, host.pids_limit, host.nano_cpus), (None, None, Some(1_500_000_000)));
        let set_up = ContainerConfig { stage: Stage::SetUp, root: true, ..config };
        let (body, _) = container(&set_up, &docker, &image, &folder);
        assert_eq!(body.user.as_deref(), Some("0:0"));
        let host = body.host_config.expect("there is one");
        assert_eq!((host.readonly_rootfs, host.network_mode.as_deref()), (Some(false), Some("none")));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        let of_root = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
        assert_eq!(host.cap_add, Some(of_root.map(str::to_owned).into()));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    }

    #[test]
    fn a_folder_in_memory_has_an_end_and_no_programs_of_roots_or_devices() {
        let Owner { uid, gid } = Owner::current();
        let common = "rw,nosuid,nodev,exec,size=8388608,mode=1777";
        assert_eq!(
            tmpfs_options(&about(EngineKind::Docker, false), 8 << 20),
            format!("{common},nr_inodes=2048,uid={uid},gid={gid}")
        );
        assert_eq!(
            tmpfs_options(&about(EngineKind::Podman, false), 8 << 20),
            format!("{common},notmpcopyup")
        );
    }

    #[test]
    fn commands_are_whoever_the_engine_maps_to_the_owner() {
        let of = |kind, rootless| {
            let about = about(kind, rootless);
            (user(&about), userns(&about))
        };
        let (own, root) = (Owner::current(), Owner { uid: 0, gid: 0 });
        assert_eq!(of(EngineKind::Docker, false), (own, Some("host".into())));
        assert_eq!(of(EngineKind::Docker, true), (root, None));
        assert_eq!(of(EngineKind::Podman, true), (own, Some("keep-id".into())));
    }
}
