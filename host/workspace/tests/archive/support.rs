//! A state folder, a workspace, and archives made by hand.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use sortie_core::TaskId;
use sortie_workspace::archive::{ArchiveError, Archives, Contents, Manifest, PackLimits, Parts};
use tempfile::TempDir;

pub(crate) const LIMITS: PackLimits =
    PackLimits { file: 1 << 20, total: 4 << 20, entries: 1000, archive: 8 << 20 };

/// A state folder with a work tree beside it.
pub(crate) struct Ground {
    folder: TempDir,
    pub(crate) archives: Archives,
    pub(crate) task: TaskId,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("tree")).expect("is made");
        let archives = Archives::new(folder.path());
        Self { folder, archives, task: "task-7k2m9q".parse().expect("an id") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the work tree.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.path("tree").join(name)
    }

    /// Writes the archive of the work tree, without what `masked` says.
    pub(crate) fn pack(
        &self,
        limits: PackLimits,
        masked: impl Fn(&Path) -> bool + Sync,
    ) -> Result<Manifest, ArchiveError> {
        self.pack_while(limits, masked, || {})
    }

    /// The same while something happens between the two walks.
    pub(crate) fn pack_while(
        &self,
        limits: PackLimits,
        masked: impl Fn(&Path) -> bool + Sync,
        happens: impl FnOnce(),
    ) -> Result<Manifest, ArchiveError> {
        let mut journal = tempfile::tempfile().expect("a file");
        journal.write_all(b"{\"seq\":1}\n").expect("is written");
        let parts = Parts {
            work_tree: &self.path("tree"),
            masked: &masked,
            journal: &journal,
            diff: &self.path("changes.diff"),
            blobs: &self.path("blobs"),
        };
        self.archives.write(&self.task, &parts, limits, |contents| {
            happens();
            manifest(&self.task, contents)
        })
    }

    /// Puts an archive there that nobody of ours wrote: a good manifest, then what `fill` adds.
    pub(crate) fn forge(&self, fill: impl FnOnce(&mut Forged)) {
        let text = serde_json::to_vec(&manifest(&self.task, Contents::default())).expect("serialises");
        self.forge_bare(20, |forged| {
            forged.entry(b'0', b"manifest.json", b"", &text);
            fill(forged);
        });
    }

    /// The same without a manifest; who reads it needs two to the power of `window` bytes.
    pub(crate) fn forge_bare(&self, window: u32, fill: impl FnOnce(&mut Forged)) {
        let path = self.archives.path(&self.task);
        fs::create_dir_all(path.parent().expect("it has one")).expect("is made");
        let mut out = zstd::Encoder::new(File::create(path).expect("is made"), 1).expect("begins");
        out.include_checksum(true).expect("is set");
        out.window_log(window).expect("is set");
        let mut forged = Forged(out);
        fill(&mut forged);
        forged.0.write_all(&[0; 1024]).expect("is written");
        forged.0.finish().expect("ends");
    }
}

pub(crate) fn manifest(task: &TaskId, contents: Contents) -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        sortie: "0.1.0".into(),
        task: task.clone(),
        archived_at: "2026-01-01T00:00:00Z".into(),
        outcome: "done".into(),
        repository: "/r".into(),
        base: None,
        branch: "sortie/a".into(),
        workspace: "sandbox".into(),
        image: None,
        image_id: None,
        components: Vec::new(),
        settings: json!({}),
        report: json!({}),
        contents,
    }
}

/// An archive that is written block by block, without a library that would know better.
pub(crate) struct Forged(zstd::Encoder<'static, File>);

impl Forged {
    /// One entry of a kind, as its header says it, mode 0777 with set-user-id.
    pub(crate) fn entry(&mut self, kind: u8, name: &[u8], target: &[u8], content: &[u8]) {
        self.header(kind, name, target, content.len() as u64);
        self.0.write_all(content).expect("is written");
        let rest = content.len().next_multiple_of(512) - content.len();
        self.0.write_all(&vec![0; rest]).expect("is written");
    }

    /// A header that promises `size` bytes.
    pub(crate) fn header(&mut self, kind: u8, name: &[u8], target: &[u8], size: u64) {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0006777\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + target.len()].copy_from_slice(target);
        block[257..265].copy_from_slice(b"ustar  \0");
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.write_all(&block).expect("is written");
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("is written");
    }
}
