//! `sortie gc`

use std::time::SystemTime;

use serde_json::json;
use sortie_workspace::archive::Archives;

use crate::archiver::size;
use crate::args::GcArguments;
use crate::exit::Exit;
use crate::home::Places;
use crate::print;
use crate::settings::{archive, read_file};
use crate::sweep::{self, UNUSED};

pub(crate) fn run(places: &Places, arguments: &GcArguments) -> anyhow::Result<Exit> {
    // settings that are wrong keep nothing from being cleared up but archives
    let mut swept = sweep::left_over(places);
    swept.components = sweep::components(places, Some(UNUSED));
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let rules = archive(&user, &organisation);
    let removed = Archives::new(&places.home).enforce(rules.retention, SystemTime::now())?;
    let bytes = removed.iter().map(|archive| archive.bytes).sum::<u64>();
    if arguments.json {
        let ids: Vec<_> = removed.iter().map(|archive| &archive.task).collect();
        print::give(json!({ "left_over": swept.counts(), "archives": ids, "archive_bytes": bytes }));
        return Ok(Exit::Done);
    }
    for (what, count) in swept.counts().iter().filter(|(_, count)| **count > 0) {
        print::give(format_args!("{count:>5} {what}"));
    }
    if !removed.is_empty() {
        print::give(format_args!("{:>5} archives, {}", removed.len(), size(bytes)));
    }
    if swept.is_empty() && removed.is_empty() {
        print::tell("nothing to remove");
    }
    Ok(Exit::Done)
}
