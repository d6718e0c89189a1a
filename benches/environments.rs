//! The second task of an environment, against the first: what set-up did for
//! the one, the other begins with.

use std::path::Path;
use std::time::Duration;

use crate::table::{Table, Times, ratio};
use crate::task::{SetUp, Site};

/// First tasks that are measured, each in a home of its own.
const FIRST: usize = 3;
/// Tasks after each of those.
const AFTER: usize = 3;
/// Names the image of containers; it needs Python with `venv`.
const IMAGE: &str = "SORTIE_IMAGE";

/// A project with a handful of real dependencies, from whatever index pip is
/// set to.
const PROJECT: &[(&str, &str)] = &[
    ("requirements.txt", "flask\nrequests\nsqlalchemy\npytest\n"),
    ("app.py", "import flask\n\napp = flask.Flask(__name__)\n"),
    ("test_app.py", "import app\n\n\ndef test_it_is_there():\n    assert app.app\n"),
];

pub(crate) fn measure(cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    let site = Site::of(cache, PROJECT)?;
    // compiles the components, if nobody has yet, and asks pip for its hosts
    site.start("warm-up", &[])?;
    compare("sandbox", &site, &[], table)?;
    match std::env::var(IMAGE) {
        Ok(image) => compare("container", &site, &["--workspace", "docker", "--image", &image], table),
        Err(_) => {
            eprintln!("  containers are left out: {IMAGE} names no image");
            Ok(())
        }
    }
}

fn compare(kind: &str, site: &Site, arguments: &[&str], table: &mut Table) -> anyhow::Result<()> {
    let (mut first, mut second) = (Times::default(), Times::default());
    for round in 0..FIRST {
        let home = format!("{kind}-{round}");
        match site.start(&home, arguments)? {
            (SetUp::Done, time) => first.push(time),
            (SetUp::Failed(why), _) => {
                eprintln!("  {kind} is left out: set-up fails, {why}");
                return Ok(());
            }
            (SetUp::TakenUp, _) => anyhow::bail!("the first task of {home} did not set up"),
        }
        for _ in 0..AFTER {
            let (set_up, time) = site.start(&home, arguments)?;
            anyhow::ensure!(matches!(set_up, SetUp::TakenUp), "a later task of {home} set up again");
            second.push(time);
        }
        site.forget(&home)?;
    }
    let (first, second) = (first.median(), second.median());
    table.note(format!("first task of an environment, {kind}, to its first turn"), seconds(first), "s");
    table.note("  the next of the same environment", seconds(second), "s");
    table.at_least("  how many times as fast that is", ratio(first, second), "times", 5.0);
    Ok(())
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
