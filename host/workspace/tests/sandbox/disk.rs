//! What fills the disk ends, says why, and can be put right.

use std::sync::{Arc, Mutex};

use sortie_core::action::Exec;
use sortie_policy::ports::{
    Chunk, CommandLimit, Commands as _, Ended, ErrorCode, Exit, LimitReached, PortError, Process,
};
use sortie_workspace::commands::CommandLimits;
use sortie_workspace::disk::{DiskError, DiskLimits, DiskWatch, Space};

use crate::ports::{Ports, code, shell};
use crate::support::{Box as Inside, Folders, LONG, eventually};

/// What the folders may take up.
const MOST: u64 = 32 << 20;

const REACHED: LimitReached = LimitReached { limit: CommandLimit::Disk, value: MOST };

pub(crate) struct Watched {
    pub(crate) ports: Ports,
    pub(crate) told: Arc<Mutex<Vec<LimitReached>>>,
    _watch: DiskWatch,
}

impl Watched {
    async fn start() -> Self {
        Self::with(DiskLimits { bytes: MOST, free: 0 }).await
    }

    async fn with(limits: DiskLimits) -> Self {
        Self::over(Folders::new(), limits).await
    }

    pub(crate) async fn over(folders: Folders, limits: DiskLimits) -> Self {
        let mut config = folders.config();
        // if nobody watches, the tests' disk is not full either
        config.limits.file = 1 << 30;
        let inside = Inside::with(folders, config).await;
        let folders = vec![inside.folders.work_tree.clone(), inside.folders.home.clone()];
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let watch = DiskWatch::start(
            inside.sandbox.client().clone(),
            folders,
            inside.sandbox.process(),
            limits,
            Box::new(move |reached| tell.lock().expect("nobody panics").push(reached)),
        );
        let watch = watch.unwrap_or_else(|error| panic!("it can be watched: {error}"));
        let mut ports = Ports::of(inside, CommandLimits::default());
        ports.change(|commands| commands.with_disk(watch.reached()));
        Self { ports, told, _watch: watch }
    }

    async fn sh(&self, script: &str) -> Result<Ended, PortError> {
        let mut process = self.ports.spawn(shell(script)).await?;
        Ok(end(&mut process).await)
    }

    /// The end of a command that fills.
    pub(crate) async fn filled(&self, script: &str) -> Ended {
        self.sh(script).await.unwrap_or_else(|error| panic!("it starts: {error}"))
    }
}

async fn end(process: &mut Box<dyn Process>) -> Ended {
    loop {
        let chunk = process.next(LONG).await.expect("the workspace is there").expect("it goes on");
        if let Chunk::Exit(ended) = chunk {
            return ended;
        }
    }
}

#[tokio::test]
async fn a_command_that_fills_the_disk_is_ended_with_the_limits_name_and_value() {
    let watched = Watched::start().await;
    for folder in ["/workspace", "/home/agent"] {
        let ended = watched.filled(&format!("cat /dev/zero > {folder}/full; sleep 1000")).await;
        assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Signal(9), &[REACHED][..]), "{folder}");
        assert_eq!(watched.filled(&format!("rm {folder}/full")).await, Ended::of(Exit::Code(0)));
        eventually("there is room again", async || watched.sh("exit 0").await.is_ok()).await;
    }
    assert!(watched.told.lock().expect("nobody panics").contains(&REACHED));
}

#[tokio::test]
async fn holes_of_a_file_are_free_and_what_is_put_into_them_is_not() {
    let watched = Watched::start().await;
    let script = "truncate -s 1G sparse && i=0 && while [ $i -lt 1000 ]; do \
                  dd if=/dev/zero of=sparse bs=1M count=1 seek=$i conv=notrunc 2>/dev/null; i=$((i+1)); done; \
                  sleep 1000";
    let ended = watched.filled(script).await;
    assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Signal(9), &[REACHED][..]));
}

#[tokio::test]
async fn empty_files_fill_a_disk_as_well() {
    let watched = Watched::start().await;
    let script = "mkdir many; i=0; while [ $i -lt 20000 ]; do : > many/$i; i=$((i+1)); done; sleep 1000";
    let ended = watched.filled(script).await;
    assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Signal(9), &[REACHED][..]));
}

#[tokio::test]
async fn a_file_without_a_name_fills_it_until_its_command_is_ended() {
    let watched = Watched::start().await;
    let ended = watched.filled("exec 3> gone; rm gone; cat /dev/zero >&3; sleep 1000").await;
    assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Signal(9), &[REACHED][..]));
    assert_eq!(watched.filled("echo still > here").await.exit, Exit::Code(0));
}

#[tokio::test]
async fn commands_in_the_background_are_ended_too() {
    let watched = Watched::start().await;
    let exec = Exec { background: true, ..shell("setsid sleep 1000 & cat /dev/zero > full; sleep 1000") };
    let process = watched.ports.spawn(exec).await.expect("it starts");
    let id = process.detach().await.expect("there is room");
    eventually("it was ended", async || {
        watched.ports.commands.background().iter().all(|it| it.exit.is_some())
    })
    .await;
    let mut process = watched.ports.commands.attach(&id).await.expect("its end can be read");
    assert_eq!(end(&mut process).await.limits, [REACHED]);
    eventually("nothing is left of it", async || {
        let left = watched.ports.inside.sh("ls /proc | grep -c '^[0-9]'").await;
        left.stdout.trim().parse::<u32>().is_ok_and(|count| count < 8)
    })
    .await;
}

#[tokio::test]
async fn nothing_is_started_once_all_that_was_made_it_worse_and_again_when_there_is_less() {
    let watched = Watched::start().await;
    let mut rounds = 0;
    let refused = loop {
        match watched.sh(&format!("cat /dev/zero > full-{rounds}; sleep 1000")).await {
            Ok(ended) => assert_eq!(ended.limits, [REACHED]),
            Err(error) => break error,
        }
        rounds += 1;
        assert!(rounds < 20, "it goes on for ever");
    };
    assert_eq!(refused.code, ErrorCode::Unavailable);
    assert!(refused.message.contains(&format!("disk_bytes = {MOST}")), "{refused}");
    for round in 0..rounds {
        let path = watched.ports.inside.folders.work_tree.join(format!("full-{round}"));
        std::fs::remove_file(path).expect("the host may remove it");
    }
    eventually("commands may start", async || watched.sh("exit 0").await.is_ok()).await;
}

#[tokio::test]
async fn what_is_to_stay_free_stays_free_whoever_takes_the_rest() {
    let space = Space::of(Folders::new().work_tree.as_ref()).expect("it is there");
    // as if the disk had been that full when the command began
    let limits = DiskLimits { bytes: 1 << 50, free: space.bytes + (1 << 40) };
    let full = DiskWatch::check(Folders::new().work_tree.as_ref(), limits);
    assert!(matches!(full, Err(DiskError::Full { .. })), "no workspace is started");
    let watched = Watched::with(limits).await;
    match watched.sh("sleep 1000").await {
        Ok(ended) => {
            let reached = LimitReached { limit: CommandLimit::DiskFree, value: limits.free };
            assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Signal(9), &[reached][..]));
        }
        Err(error) => assert_eq!(code::<()>(Err(error)), Some(ErrorCode::Unavailable)),
    }
}
