//! Where a file system puts folders that have nothing to do with each other.

use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};

/// Has ext4 put the folders in this one far apart (the flag `T` of chattr(1)), so that each fills room of its own.
/// Otherwise a task's folders come to lie where the last one's were, and ext4 goes by all that was removed there in
/// the last minutes for each file that it makes (`recently_deleted` in fs/ext4/ialloc.c): three and a half thousand
/// files took 2.7 s instead of 0.15. Other file systems have no such flag, and nothing depends on it.
pub fn spread(folder: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let set = || {
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let has = ioctl_getflags(&folder)?;
        if has.contains(IFlags::TOPDIR) { Ok(()) } else { ioctl_setflags(&folder, has | IFlags::TOPDIR) }
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "the file system puts folders where it likes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_marked_where_the_file_system_has_the_mark_and_otherwise_left_as_it_is() {
        let [ground, beside] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let open = |folder: &tempfile::TempDir| std::fs::File::open(folder.path()).expect("opens");
        let flags = |folder| ioctl_getflags(open(folder)).unwrap_or(IFlags::empty());
        spread(ground.path());
        spread(ground.path());
        // whether it has the mark, and lets this process set it, is found out by trying
        let _ = ioctl_setflags(open(&beside), flags(&beside) | IFlags::TOPDIR);
        assert_eq!(flags(&ground), flags(&beside));
        spread(&ground.path().join("not there"));
    }
}
