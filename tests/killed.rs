//! A host that is killed leaves nothing behind after the next start.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::environments::containers::{docker, image, images_of};
use crate::signals::interrupt;
use crate::support::{FIX, LONG, Ran, Site, own_seconds, shell_script, until};

/// Pseudo-random numbers from a seed that a failure prints.
struct Dice(u64);

impl Dice {
    /// From `SORTIE_TEST_SEED`, or the time.
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let seed = std::env::var("SORTIE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        Self(seed.unwrap_or(u64::from(now.subsec_nanos()) + now.as_secs()))
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Processes by id, each with the time of its start, that descend from one.
fn descendants(of: u32) -> BTreeMap<u32, u64> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, (parent, started))) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            parents.insert(pid, (parent, started));
        }
    }
    let descends = |pid: &u32| {
        let up = |pid: &u32| parents.get(pid).map(|(parent, _)| *parent);
        std::iter::successors(up(pid), up).any(|parent| parent == of)
    };
    parents.iter().filter(|(pid, _)| descends(pid)).map(|(pid, (_, started))| (*pid, *started)).collect()
}

/// Parent and time of start; none for a process that is gone, or only waits to be reaped.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    (fields[0] != "Z").then_some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// Cgroups that this host made.
fn cgroups(host: u32) -> Vec<PathBuf> {
    let prefix = format!("sortie-{host}-");
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Names below a folder of ours that are for a time only: those that begin with a dot, and what is made for a
/// workspace. Work trees, homes and what was copied from them hold what commands made.
fn temporary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_ours = ["borrowed", "container", "container-root", "blank"].contains(&&*name)
            || name.ends_with(".going");
        if name.starts_with('.') || folder.ends_with("scratch") || is_ours {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !["workspace", "home", "work"].contains(&&*name)
        {
            found.extend(temporary(&path));
        }
    }
    found
}

/// Sockets that somebody has bound to a path below this one.
fn sockets(below: &Path) -> Vec<String> {
    let bound = std::fs::read_to_string("/proc/net/unix").expect("is read");
    let below = below.to_string_lossy();
    bound.lines().filter(|line| line.contains(&*below)).map(str::to_owned).collect()
}

/// Mounts of any process that is to be seen, of or on something below this path.
fn mounts(below: &Path) -> Vec<String> {
    // alone: what is mounted is told from the root of its file system on, and that may be mounted anywhere
    let below = below.file_name().expect("a temporary folder has a name of its own").to_string_lossy();
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let infos = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("mountinfo")).ok());
    let of_ours = |info: String| info.lines().find(|line| line.contains(&*below)).map(str::to_owned);
    infos.filter_map(of_ours).collect()
}

/// Processes that sleep for as many seconds as nobody else does.
fn sleepers(seconds: &str) -> Vec<PathBuf> {
    let line = format!("sleep\0{seconds}\0");
    let sleeps = |path: &PathBuf| std::fs::read(path.join("cmdline")).is_ok_and(|own| own == line.as_bytes());
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.map(|entry| entry.path()).filter(sleeps).collect()
}

/// Containers of these tasks in any state, as the engine's own client lists them.
fn containers(tasks: &[String]) -> Vec<String> {
    let of = |task: &String| {
        let filter = format!("label=dev.sortie.task={task}");
        let output = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]).output();
        let output = output.expect("the engine's client is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    tasks.iter().flat_map(of).collect()
}

/// Where a host is killed.
struct Point {
    phase: &'static str,
    /// Words of the event that is waited for.
    words: [&'static str; 2],
    /// Milliseconds after it, chosen at random.
    within: u64,
}

const fn point(phase: &'static str, words: [&'static str; 2], within: u64) -> Point {
    Point { phase, words, within }
}

const POINTS: [Point; 9] = [
    point("prepare", ["phase.started", "prepare"], 60),
    point("prepare", ["step.started", "\"install\""], 600),
    point("prepare", ["step.started", "\"keep\""], 8),
    point("prepare", ["step.started", "\"workspace\""], 20),
    point("prepare", ["step.started", "\"workspace\""], 500),
    point("work", ["\"kind\":\"exec\"", "mkfifo"], 300),
    point("archive", ["step.started", "\"archive\""], 40),
    point("archive", ["step.started", "\"archive\""], 400),
    point("archive", ["step.ended", "\"archive\""], 30),
];

/// A backend with a site of its own, and what its tasks leave while they run.
struct Ground {
    backend: &'static str,
    image: Option<String>,
    site: Site,
    tmp: PathBuf,
    /// How long its sleepers sleep.
    seconds: String,
}

impl Ground {
    fn new(backend: &'static str, image: Option<String>) -> Self {
        let site = Site::new();
        let tmp = site.path().join("tmp");
        std::fs::create_dir(&tmp).expect("is made");
        Self { backend, image, site, tmp, seconds: own_seconds() }
    }

    /// Has the next task do a set-up of its own.
    fn renew(&self, number: usize) {
        let sleep = format!("(setsid sleep {} &)", self.seconds);
        let install = format!("{sleep} ; head -c 3000000 /dev/urandom > ~/cache; sleep 0.5; : {number}");
        let settings = match &self.image {
            None => format!("install = \"{install}\"\n"),
            // which does not end with its host
            Some(image) => format!(
                "environment = \"ours\"\n[environments.ours]\nsetup = [\"{install}\"]\n\
                 test = {{ command = [\"sh\", \"test.sh\"], format = \"tap\" }}\n\
                 [[environments.ours.service]]\nname = \"idle\"\nimage = \"{image}\"\n\
                 command = [\"sleep\", \"{}\"]\n",
                self.seconds
            ),
        };
        self.site.aside("config.toml", settings);
    }

    fn command(&self, mut command: Command) -> Command {
        command.env("TMPDIR", &self.tmp).env("SORTIE_CACHE", self.site.path().join("home/cache/components"));
        command
    }

    fn run(&self, commands: &[&str]) -> Command {
        let mut command = self.command(self.site.scripted(&shell_script(commands)));
        command.args(["--workspace", self.backend]);
        if let Some(image) = &self.image {
            command.args(["--image", image]);
        }
        command
    }

    /// Starts a task that works for these seconds and reads its events until one holds all these words.
    fn begin(&self, words: &[&str], seconds: u32) -> (Child, BufReader<ChildStdout>) {
        let noise = format!(
            "head -c 30000000 /dev/urandom > noise; mkfifo pipe; (setsid sleep {} &) ; sleep {seconds}",
            self.seconds
        );
        let mut command = self.run(&[FIX, &noise]);
        let mut child = command.args(["--deliver", "none"]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !words.iter().all(|word| line.contains(word)) {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("is read") > 0, "it ended before {words:?}");
        }
        (child, stdout)
    }

    fn tasks(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.site.path().join("home/tasks")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Images that set-ups made and that go with no snapshot.
    fn images(&self) -> Vec<String> {
        let snapshots = self.site.path().join("home/snapshots");
        let about = std::fs::read_dir(snapshots).into_iter().flatten().flatten();
        let about = about.filter_map(|entry| std::fs::read_to_string(entry.path().join("about.json")).ok());
        let about: String = about.collect();
        images_of(&self.site).into_iter().filter(|id| !about.contains(id)).collect()
    }

    /// What is there that should not be once the next command has run, by what it is.
    fn left(&self, host: u32, family: &BTreeMap<u32, u64>) -> BTreeMap<&'static str, String> {
        let home = self.site.path().join("home");
        let processes: Vec<_> = family
            .iter()
            .filter(|(pid, started)| stat(**pid).is_some_and(|(_, now)| now == **started))
            .collect();
        let has_engine = self.image.is_some();
        let of_the_engine = if has_engine { containers(&self.tasks()) } else { Vec::new() };
        let images = if has_engine { self.images() } else { Vec::new() };
        let all = [
            ("containers", format!("{of_the_engine:?}")),
            ("images", format!("{images:?}")),
            ("mounts", format!("{:?}", mounts(self.site.path()))),
            ("cgroups", format!("{:?}", cgroups(host))),
            ("processes", format!("{processes:?}")),
            ("sleepers", format!("{:?}", sleepers(&self.seconds))),
            ("sockets", format!("{:?}", sockets(self.site.path()))),
            ("temporary files", format!("{:?}", temporary(&home))),
            (
                "temporary folder",
                format!("{:?}", std::fs::read_dir(&self.tmp).expect("is read").collect::<Vec<_>>()),
            ),
        ];
        all.into_iter().filter(|(_, found)| found != "[]").collect()
    }

    /// What is kept of the tasks is whole.
    fn check_kept(&self, at: &str) {
        let listed =
            self.command(self.site.sortie()).args(["archive", "list", "--json"]).output().expect("runs");
        assert!(listed.status.success(), "{at}: {}", String::from_utf8_lossy(&listed.stderr));
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let archive: Value = serde_json::from_str(line).expect("JSON");
            assert_ne!(archive["outcome"], "damaged", "{at}: {line}");
        }
        for task in self.tasks() {
            let folder = self.site.path().join("home/tasks").join(&task);
            let tree = folder.join("workspace");
            let whole =
                !tree.exists() || tree.join("slug.sh").exists() || !folder.join("changes.diff").exists();
            assert!(whole, "{at}: half a work tree is left of {task}");
        }
    }

    fn kill_at(&self, point: &Point, wait: u64, at: &str) {
        let (mut child, stdout) = self.begin(&point.words, 2);
        std::thread::sleep(Duration::from_millis(wait));
        let family = descendants(child.id());
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        drop(stdout);
        // whichever it is; what ends by itself, when its end of a socket tells it, may take a moment, and what the
        // engine was asked for may come a moment later
        let clear = |next: &[&str], is_left: &dyn Fn(&str) -> bool| {
            let begun = Instant::now();
            loop {
                let next = self.command(self.site.sortie()).args(next).output().expect("runs");
                assert_eq!(next.status.code(), Some(0), "{at}: {}", String::from_utf8_lossy(&next.stderr));
                let mut left = self.left(child.id(), &family);
                left.retain(|what, _| is_left(what));
                if left.is_empty() {
                    break;
                }
                assert!(begun.elapsed() < LONG, "{at}: {left:#?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        clear(&["list"], &|what| what != "images");
        clear(&["gc", "--json"], &|_| true);
        self.check_kept(at);
    }
}

/// What is looked for is found while it is there; it goes with what the first point leaves.
fn check_sight(ground: &Ground) {
    ground.renew(POINTS.len());
    let (mut child, stdout) = ground.begin(&["\"kind\":\"exec\"", "mkfifo"], 1000);
    // a container's processes are the engine's
    let own = if ground.image.is_some() { "containers" } else { "processes" };
    until("all of it is found", || {
        let found = ground.left(child.id(), &descendants(child.id()));
        ["mounts", "sleepers", own].iter().all(|what| found.contains_key(what))
    });
    child.kill().expect("is killed");
    child.wait().expect("is gone");
    drop(stdout);
}

/// Kills hosts at all points. `SORTIE_TEST_POINT` names one alone, as a failure prints it.
fn kill_everywhere(backend: &'static str, image: Option<String>) {
    let ground = Ground::new(backend, image);
    check_sight(&ground);
    let Dice(seed) = Dice::new();
    for (number, point) in POINTS.iter().enumerate() {
        let name = format!("{backend}/{number}");
        if std::env::var("SORTIE_TEST_POINT").is_ok_and(|only| only != name) {
            continue;
        }
        let wait = Dice(seed.wrapping_add(number as u64)).below(point.within);
        let (phase, words) = (point.phase, point.words);
        let at = format!("SORTIE_TEST_SEED={seed} SORTIE_TEST_POINT={name} ({phase}: {words:?} + {wait} ms)");
        eprintln!("{at}");
        ground.renew(number);
        ground.kill_at(point, wait, &at);
    }
    // and the next task works
    let ran = Ran::of(&mut ground.run(&[FIX]));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    for image in ground.image.iter().flat_map(|_| images_of(&ground.site)) {
        docker(&["rmi", "--force", &image]);
    }
}

#[test]
fn nothing_is_left_of_a_host_that_is_killed() {
    kill_everywhere("sandbox", None);
}

#[test]
fn nothing_is_left_of_a_host_of_containers_that_is_killed() {
    if let Some(image) = image() {
        kill_everywhere("docker", Some(image));
    }
}

/// How long a host waits for what it has begun, once its task is cancelled.
const FAREWELL: Duration = Duration::from_secs(3);

/// Cancels tasks while the workspace of their set-up starts. No further command is needed, unless an engine is slower
/// than its host waits.
fn cancel_starts(backend: &'static str, image: Option<String>, within: u64) {
    let ground = Ground::new(backend, image);
    let mut dice = Dice::new();
    for number in 0..3 {
        ground.renew(number);
        let (mut child, stdout) = ground.begin(&["step.started", "for set-up"], 2);
        let wait = dice.below(within);
        std::thread::sleep(Duration::from_millis(wait));
        let family = descendants(child.id());
        let begun = Instant::now();
        interrupt(&child);
        let last = stdout.lines().map_while(Result::ok).last().expect("events");
        let at = format!("{wait} ms after the start: {last}");
        assert_eq!(child.wait().expect("ends").code(), Some(130), "{at}");
        assert!(last.contains("\"task.ended\"") && last.contains("\"cancelled\""), "{at}");
        let is_given_up = ground.image.is_some() && begun.elapsed() >= FAREWELL;
        until(&format!("nothing is left, {at}"), || {
            let is_clear = ground.left(child.id(), &family).is_empty();
            if !is_clear && is_given_up {
                ground.command(ground.site.sortie()).arg("list").output().expect("runs");
            }
            is_clear
        });
    }
}

#[test]
fn nothing_is_left_of_a_set_up_that_is_cancelled_as_its_workspace_starts() {
    cancel_starts("sandbox", None, 20);
}

#[test]
fn nothing_is_left_of_a_set_up_that_is_cancelled_as_its_container_starts() {
    if let Some(image) = image() {
        cancel_starts("docker", Some(image), 400);
    }
}
