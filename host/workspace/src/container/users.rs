//! The users that a set-up as root sees: the image's own, and the workspace's.
//!
//! Elsewhere `/etc/passwd` and `/etc/group` are ours, mounted. Programs that add users put new files in the place of the
//! old ones, which no mount lets them; so in such a set-up they are files of the container's, and stay in its image.

use bollard::Docker;
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use futures_util::StreamExt as _;
use std::io::Read as _;

use super::error::{ContainerError, step};
use crate::sandbox::{Owner, groups, users};

/// Bytes of such a file, with its archive's.
const MOST: usize = 1 << 20;

/// Adds the commands' user and group to those of a container that has not started yet.
pub(super) async fn introduce(api: &Docker, id: &str, user: Owner) -> Result<(), ContainerError> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, ours) in [("etc/passwd", users(user)), ("etc/group", groups(user))] {
        let text = merged(&ours, &read(api, id, path).await?);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    let options = UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
    let body = bollard::body_full(archive.into_inner()?.into());
    let uploaded = api.upload_to_container(id, Some(options), body).await;
    uploaded.map_err(|error| step("add the workspace's user to the image's", &error))
}

/// A file of the image's; nothing, if there is none or it is something else.
async fn read(api: &Docker, id: &str, path: &str) -> Result<String, ContainerError> {
    const STEP: &str = "read the users of the image";
    let options = DownloadFromContainerOptions { path: format!("/{path}") };
    let mut chunks = api.download_from_container(id, Some(options));
    let mut archive = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if archive.len() + chunk.len() <= MOST => archive.extend_from_slice(&chunk),
            Ok(_) => {
                let reason = format!("`/{path}` has more than {MOST} bytes");
                return Err(ContainerError::Step { step: STEP, reason });
            }
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => break,
            Err(error) => return Err(step(STEP, &error)),
        }
    }
    let mut archive = tar::Archive::new(archive.as_slice());
    let Some(file) = archive.entries()?.next().transpose()? else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    if file.header().entry_type().is_file() {
        file.take(MOST as u64).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Ours first, for whoever looks a number up; of the others, theirs come before ours.
fn merged(ours: &str, theirs: &str) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let agent = |line: &&str| name(line) == "agent";
    let theirs: Vec<&str> = theirs.lines().filter(|line| !line.is_empty() && !agent(line)).collect();
    let lacking = ours.lines().filter(|line| !agent(line) && theirs.iter().all(|it| name(it) != name(line)));
    let lines = ours.lines().filter(agent).chain(theirs.iter().copied()).chain(lacking);
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_users_stay_and_ours_comes_first_once() {
        let ours = "agent:x:7:7::/home/agent:/bin/sh\nroot:x:0:0::/nonexistent:/no\n";
        let theirs = "root:x:0:0:root:/root:/bin/bash\nagent:x:0:0::/:/bin/sh\n\npostgres:x:70:70::/:/bin/sh";
        let lines: Vec<_> = ["agent:x:7:7::/home/agent:/bin/sh", "root:x:0:0:root:/root:/bin/bash"].into();
        let merged_with = merged(ours, theirs);
        assert_eq!(
            merged_with.lines().collect::<Vec<_>>(),
            [lines, vec!["postgres:x:70:70::/:/bin/sh"]].concat()
        );
        assert_eq!(merged(ours, ""), ours);
        assert_eq!(merged(ours, &merged_with), merged_with);
    }
}
