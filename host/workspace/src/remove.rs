//! Removing folders that commands have filled, once nothing changes them any more.

#![expect(clippy::disallowed_methods, reason = "removes copies and restored folders that are not whole")]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a folder with all in it, folders that cannot be written to among them. No link is followed.
///
/// # Errors
/// What the system says of the first thing that cannot be removed.
pub(crate) fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        // the caches of some package managers are read-only, down to their folders
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        removed => removed,
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // of a link, the link's own
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::traverse::as_plain_user;

    #[test]
    fn read_only_folders_go_and_what_links_lead_to_stays() {
        as_plain_user(|ground| {
            let outside = ground.join("outside");
            fs::create_dir(&outside).expect("is made");
            fs::write(outside.join("file"), "x").expect("is written");
            let inner = ground.join("tree/inner");
            fs::create_dir_all(&inner).expect("is made");
            fs::write(inner.join("file"), "x").expect("is written");
            symlink(&outside, inner.join("link")).expect("is linked");
            for (folder, mode) in [(&inner, 0o000), (&ground.join("tree"), 0o500)] {
                fs::set_permissions(folder, Permissions::from_mode(mode)).expect("is set");
            }
            remove_tree(&ground.join("tree")).expect("is removed");
            assert!(!ground.join("tree").exists() && outside.join("file").exists());
        });
    }
}
