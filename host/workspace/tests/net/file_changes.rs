//! Reading and changing files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sortie_core::action::{FileRead, FileWrite, IfMatch, ReadOperation, WriteOperation};
use sortie_policy::Permit;
use sortie_policy::ports::{ErrorCode, FileContent, Files, PortError};
use sortie_workspace::files::{MAX_FILE, WorkFiles};
use tempfile::TempDir;

use crate::support::World;

/// A work tree with its port.
pub(crate) struct Tree {
    pub(crate) dir: TempDir,
    pub(crate) world: World,
    pub(crate) files: WorkFiles,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self::owned_by(None)
    }

    pub(crate) fn owned_by(owner: Option<(u32, u32)>) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let world = World::under("none");
        let files = WorkFiles::new(dir.path(), world.gate.seal(), owner).expect("a folder");
        Self { dir, world, files }
    }

    /// Puts a file there as the workspace would.
    pub(crate) fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in the tree")).expect("a folder");
        fs::write(path, data).expect("a file");
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).expect("a text file")
    }

    async fn read_permit(&self, path: &str, offset: u64, max: u32) -> Permit<FileRead> {
        let operation = ReadOperation::Read { offset, max };
        self.world.permit(FileRead { operation, paths: vec![path.into()] }).await
    }

    pub(crate) async fn read(&self, path: &str) -> Result<FileContent, PortError> {
        self.read_piece(path, 0, 8 << 20).await
    }

    pub(crate) async fn read_piece(
        &self,
        path: &str,
        offset: u64,
        max: u32,
    ) -> Result<FileContent, PortError> {
        self.files.read(self.read_permit(path, offset, max).await).await
    }

    pub(crate) async fn change(
        &self,
        path: &str,
        operation: WriteOperation,
    ) -> Result<Option<String>, PortError> {
        let permit = self.world.permit(FileWrite { path: path.into(), operation }).await;
        self.files.write(permit).await
    }

    pub(crate) async fn write(&self, path: &str, text: &str, if_match: IfMatch) -> Result<String, PortError> {
        let operation = WriteOperation::Write { data: text.as_bytes().into(), if_match };
        self.change(path, operation).await.map(|etag| etag.expect("a write has an etag"))
    }

    pub(crate) async fn edit(
        &self,
        path: &str,
        old: &str,
        new: &str,
        count: u32,
    ) -> Result<String, PortError> {
        let operation = WriteOperation::Edit { old: old.into(), new: new.into(), count };
        self.change(path, operation).await.map(|etag| etag.expect("an edit has an etag"))
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<(), PortError> {
        self.change(path, WriteOperation::Remove).await.map(|etag| assert_eq!(etag, None))
    }

    /// Everything in the tree's root.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("a folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn a_file_is_read_in_pieces_that_bear_the_whole_files_etag() {
    let tree = Tree::new();
    tree.put("a/b.txt", "0123456789");
    let whole = tree.read("a/b.txt").await.expect("it is there");
    assert_eq!((whole.data.as_slice(), whole.size), (b"0123456789".as_slice(), 10));
    let piece = tree.read_piece("a/b.txt", 4, 3).await.expect("it is there");
    assert_eq!((piece.data.as_slice(), piece.size), (b"456".as_slice(), 10));
    assert_eq!(piece.etag, whole.etag);
    assert!(tree.read_piece("a/b.txt", 100, 3).await.expect("beyond the end").data.is_empty());
    assert_eq!(tree.read("a/c.txt").await.expect_err("missing").code, ErrorCode::NotFound);
    assert_eq!(tree.read("a/b.txt/c").await.expect_err("no folder").code, ErrorCode::NotFound);
    assert_eq!(tree.read("a").await.expect_err("a folder").code, ErrorCode::Invalid);
    assert_eq!(tree.read_piece("a/b.txt", 0, 9 << 20).await.expect_err("9 MiB").code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_huge_file_is_read_in_pieces_and_not_as_a_whole() {
    let tree = Tree::new();
    let file = fs::File::create(tree.dir.path().join("huge")).expect("a file");
    file.set_len(1 << 40).expect("a sparse file");
    let end = tree.read_piece("huge", (1 << 40) - 3, 100).await.expect("its end");
    assert_eq!((end.data.len(), end.size), (3, 1 << 40));
    let before = tree.read_piece("huge", 0, 1).await.expect("its start").etag;
    assert_eq!(end.etag, before);
    file.set_len(1 << 41).expect("a sparse file");
    assert_ne!(tree.read_piece("huge", 0, 1).await.expect("its start").etag, before);
    assert_eq!(tree.edit("huge", "a", "b", 1).await.expect_err("too large").code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_file_is_created_with_its_folders_and_replaced_with_its_mode() {
    let tree = Tree::new();
    tree.write("a/b/run.sh", "one", IfMatch::Absent).await.expect("it is new");
    let path = tree.dir.path().join("a/b/run.sh");
    assert_eq!(path.metadata().expect("it is there").mode() & 0o7777, 0o644);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).expect("its owner may");
    tree.write("a/b/run.sh", "two", IfMatch::Any).await.expect("it is replaced");
    assert_eq!(tree.text("a/b/run.sh"), "two");
    assert_eq!(path.metadata().expect("it is there").mode() & 0o7777, 0o751, "without set-user-id");
    assert_eq!(fs::read_dir(tree.dir.path().join("a/b")).expect("a folder").count(), 1, "no leftovers");
}

#[tokio::test]
async fn a_write_that_expects_another_state_is_a_conflict_and_changes_nothing() {
    let tree = Tree::new();
    tree.put("f", "one");
    let conflict =
        |result: Result<String, PortError>| result.expect_err("a conflict").code == ErrorCode::Conflict;
    assert!(conflict(tree.write("f", "x", IfMatch::Absent).await));
    let etag = tree.read("f").await.expect("it is there").etag;
    tree.put("f", "two");
    assert!(conflict(tree.write("f", "x", IfMatch::Etag(etag.clone())).await));
    assert!(conflict(tree.write("g", "x", IfMatch::Etag(etag.clone())).await));
    assert!(conflict(tree.write("new/g", "x", IfMatch::Etag(etag)).await));
    assert_eq!(tree.text("f"), "two");
    assert_eq!(tree.names(), ["f"]);
    let etag = tree.read("f").await.expect("it is there").etag;
    let next = tree.write("f", "three", IfMatch::Etag(etag)).await.expect("nobody was there in between");
    assert_eq!(tree.read("f").await.expect("it is there").etag, next);
}

#[tokio::test]
async fn of_many_that_compare_and_swap_one_wins() {
    let tree = Tree::new();
    // large, so that all of them are comparing at the same time
    tree.put("f", "x".repeat(1 << 18));
    let etag = tree.read("f").await.expect("it is there").etag;
    let writes = (0..20).map(|n| {
        let (tree, etag) = (&tree, etag.clone());
        async move { tree.write("f", &n.to_string(), IfMatch::Etag(etag)).await.is_ok() }
    });
    let won = futures_util::future::join_all(writes).await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn an_edit_replaces_as_many_as_it_says_or_none() {
    let tree = Tree::new();
    tree.put("f", "aXbXc\n");
    let error = tree.edit("f", "X", "Y", 1).await.expect_err("it is there twice");
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Conflict, "`f` has the text 2 times, not once")
    );
    let error = tree.edit("f", "Z", "Y", 1).await.expect_err("it is not there");
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Conflict, "`f` has the text 0 times, not once")
    );
    assert_eq!(tree.text("f"), "aXbXc\n");
    tree.edit("f", "X", "long", 2).await.expect("it is there twice");
    assert_eq!(tree.text("f"), "alongblongc\n");
    assert_eq!(tree.edit("f", "", "x", 1).await.expect_err("nothing").code, ErrorCode::Invalid);
    assert_eq!(tree.edit("f", "a", "x", 0).await.expect_err("never").code, ErrorCode::Invalid);
    assert_eq!(tree.edit("g", "a", "x", 1).await.expect_err("missing").code, ErrorCode::NotFound);
}

#[tokio::test]
async fn what_is_written_is_bounded() {
    let tree = Tree::new();
    let size = usize::try_from(MAX_FILE).expect("it fits");
    tree.write("f", &"x".repeat(size), IfMatch::Any).await.expect("as large as may be");
    let error = tree.write("f", &"x".repeat(size + 1), IfMatch::Any).await.expect_err("one more");
    assert_eq!(error.code, ErrorCode::TooLarge);
    // this would grow to 8 TiB
    let times = u32::try_from(size).expect("it fits");
    let error = tree.edit("f", "x", &"y".repeat(1 << 20), times).await.expect_err("far too much");
    assert_eq!(error.code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn files_links_and_empty_folders_are_removed() {
    let tree = Tree::new();
    tree.put("keep", "kept");
    tree.put("full/f", "");
    fs::create_dir(tree.dir.path().join("empty")).expect("a folder");
    std::os::unix::fs::symlink("keep", tree.dir.path().join("link")).expect("a link");
    for path in ["empty", "link", "full/f"] {
        tree.remove(path).await.expect(path);
    }
    tree.put("full/f", "");
    assert_eq!(tree.remove("full").await.expect_err("it is full").code, ErrorCode::Invalid);
    assert_eq!(tree.remove("missing").await.expect_err("missing").code, ErrorCode::NotFound);
    assert_eq!(tree.names(), ["full", "keep"]);
}

#[tokio::test]
async fn a_permit_serves_its_own_gate_and_operation_alone() {
    let (tree, other) = (Tree::new(), Tree::new());
    tree.put("f", "one");
    let read = other.read_permit("f", 0, 10).await;
    assert_eq!(tree.files.read(read).await.expect_err("foreign").code, ErrorCode::Denied);
    let write = FileWrite { path: "f".into(), operation: WriteOperation::Remove };
    let write = other.world.permit(write).await;
    assert_eq!(tree.files.write(write).await.expect_err("foreign").code, ErrorCode::Denied);
    let glob = FileRead { operation: ReadOperation::Glob { pattern: "*".into() }, paths: vec!["f".into()] };
    let foreign = other.world.permit(glob.clone()).await;
    assert_eq!(tree.files.glob(foreign).await.expect_err("foreign").code, ErrorCode::Denied);
    let permit = tree.world.permit(glob.clone()).await;
    assert_eq!(tree.files.read(permit).await.expect_err("a listing").code, ErrorCode::Invalid);
    let permit = tree.world.permit(glob.clone()).await;
    assert_eq!(tree.files.search(permit).await.expect_err("a listing").code, ErrorCode::Invalid);
    let permit = tree.read_permit("f", 0, 10).await;
    assert_eq!(tree.files.glob(permit).await.expect_err("a read").code, ErrorCode::Invalid);
    let permit = tree.world.permit(glob).await;
    assert_eq!(tree.files.glob(permit).await.expect("its own"), ["f"]);
    assert_eq!(tree.text("f"), "one");
}

#[tokio::test]
async fn what_root_makes_belongs_to_the_workspace_and_nothing_else_changes_hands() {
    if !is_root() {
        return;
    }
    let tree = Tree::owned_by(Some((12345, 12346)));
    tree.put("hosts/f", "host");
    tree.write("hosts/new/deep/f", "x", IfMatch::Any).await.expect("it is written");
    tree.write("hosts/f", "x", IfMatch::Any).await.expect("it is written");
    let owner = |path: &str| {
        let there = tree.dir.path().join(path).metadata().expect("it is there");
        (there.uid(), there.gid())
    };
    for made in ["hosts/new", "hosts/new/deep", "hosts/new/deep/f", "hosts/f"] {
        assert_eq!(owner(made), (12345, 12346), "{made}");
    }
    assert_eq!(owner("hosts").0, 0);
}
