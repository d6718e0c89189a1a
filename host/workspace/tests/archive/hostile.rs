//! Archives that nobody of ours wrote.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use sortie_workspace::archive::{ArchiveError, Contents, UnpackLimits, What};

use crate::support::{Forged, Ground, manifest};

const LIMITS: UnpackLimits = UnpackLimits { bytes: 1 << 20, entries: 50 };

/// Restores and returns why not. Nothing may be there afterwards, here or outside.
fn refused(fill: impl FnOnce(&mut Forged)) -> String {
    let ground = Ground::new();
    ground.forge(fill);
    fs::create_dir(ground.path("outside")).expect("is made");
    let to = ground.path("back");
    let error = ground.archives.restore(&ground.task, What::All, &to, None, LIMITS).expect_err("is refused");
    assert!(!to.exists(), "nothing of it stays: {error}");
    assert_eq!(fs::read_dir(ground.path("outside")).expect("is read").count(), 0, "{error}");
    assert!(!ground.path("escaped").exists() && !Path::new("/tmp/sortie-escaped").exists(), "{error}");
    error.to_string()
}

#[test]
fn paths_that_lead_out_are_refused() {
    for (path, why) in [
        ("../escaped", "leads elsewhere"),
        ("workspace/../../escaped", "leads elsewhere"),
        ("workspace/a/../../../escaped", "leads elsewhere"),
        ("/tmp/sortie-escaped", "is absolute"),
        ("workspace/./a", "leads elsewhere"),
        ("workspace//a", "leads elsewhere"),
        ("workspace/a/..", "leads elsewhere"),
        ("..", "leads elsewhere"),
        ("", "is empty"),
    ] {
        let error = refused(|forged| {
            forged.entry(b'5', b"workspace/", b"", b"");
            forged.entry(b'0', path.as_bytes(), b"", b"x");
        });
        assert!(error.contains(why), "{path}: {error}");
    }
}

#[test]
fn a_path_that_leads_out_is_refused_under_a_long_name_too() {
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        let long = format!("workspace/{}escaped\0", "../".repeat(60));
        forged.entry(b'L', b"././@LongLink", b"", long.as_bytes());
        forged.entry(b'0', b"workspace/harmless", b"", b"x");
    });
    assert!(error.contains("leads elsewhere"), "{error}");
}

#[test]
fn nothing_is_written_through_a_link() {
    for target in ["../../outside", "/tmp", ".", "real"] {
        let error = refused(|forged| {
            forged.entry(b'5', b"workspace/", b"", b"");
            forged.entry(b'5', b"workspace/real/", b"", b"");
            forged.entry(b'2', b"workspace/link", target.as_bytes(), b"");
            forged.entry(b'0', b"workspace/link/sortie-escaped", b"", b"x");
        });
        assert!(error.contains("no folder"), "{target}: {error}");
    }
    // over the link itself
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.entry(b'2', b"workspace/link", b"../../outside/file", b"");
        forged.entry(b'0', b"workspace/link", b"", b"x");
    });
    assert!(error.contains("occurs twice"), "{error}");
    // a folder that is a link by the time its mode is set
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.entry(b'2', b"workspace/a", b"../../outside", b"");
        forged.entry(b'5', b"workspace/a", b"", b"");
    });
    assert!(error.contains("occurs twice"), "{error}");
}

#[test]
fn hard_links_devices_fifos_and_headers_of_other_formats_are_refused() {
    // 1 hard link, 3 and 4 devices, 6 fifo, S sparse, x and g pax, D, M, V, N of old GNU
    for kind in *b"1346SxgDMVN7" {
        let error = refused(|forged| {
            forged.entry(b'5', b"workspace/", b"", b"");
            forged.entry(kind, b"workspace/thing", b"../../outside", b"");
        });
        assert!(error.contains("is no folder, file or link"), "{}: {error}", kind as char);
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_written() {
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.header(b'0', b"workspace/bomb", b"", 1 << 32);
        for _ in 0..64 {
            forged.raw(&[0; 64 << 10]);
        }
    });
    assert!(error.contains("more than 1048576 bytes"), "{error}");
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        for n in 0..60 {
            forged.entry(b'0', format!("workspace/{n}").as_bytes(), b"", b"");
        }
    });
    assert!(error.contains("more than 50 entries"), "{error}");
    let error = refused(|forged| {
        forged.header(b'L', b"././@LongLink", b"", 1 << 32);
        forged.raw(&[b'a'; 64 << 10]);
    });
    assert!(error.contains("longer than 4096"), "{error}");
    let error = refused(|forged| {
        let mut deep = b"workspace/".to_vec();
        deep.extend("a/".repeat(300).bytes());
        forged.entry(b'L', b"././@LongLink", b"", &deep);
        forged.entry(b'5', b"workspace/deep", b"", b"");
    });
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn what_is_none_of_an_archives_files_is_refused() {
    for (kind, path) in [
        (b'0', "manifest.json"),
        (b'0', "other"),
        (b'5', "journal.jsonl"),
        (b'2', "changes.diff"),
        (b'2', "workspace"),
        (b'0', "blobs/not-a-digest"),
        (b'5', "blobs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ] {
        let error = refused(|forged| {
            if path.starts_with("blobs") {
                forged.entry(b'5', b"blobs/", b"", b"");
            }
            forged.entry(kind, path.as_bytes(), if kind == b'2' { b"/tmp" } else { b"" }, b"");
        });
        assert!(error.contains("nothing that an archive holds"), "{path}: {error}");
    }
}

#[test]
fn one_that_is_cut_off_damaged_or_has_no_manifest_is_refused() {
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.header(b'0', b"workspace/file", b"", 5000);
    });
    assert!(error.contains("cannot restore") || error.contains("cut off"), "{error}");
    let ground = Ground::new();
    ground.forge(|forged| forged.entry(b'5', b"workspace/", b"", b""));
    let path = ground.archives.path(&ground.task);
    let whole = fs::read(&path).expect("is read");
    for bytes in [&whole[..whole.len() / 2], b"", b"no archive at all"] {
        fs::write(&path, bytes).expect("is written");
        assert!(ground.archives.manifest(&ground.task).is_err());
        let to = ground.path("back");
        assert!(ground.archives.restore(&ground.task, What::All, &to, None, LIMITS).is_err());
        assert!(!to.exists());
    }
}

#[test]
fn one_flipped_bit_in_a_file_is_found() {
    let ground = Ground::new();
    // bytes that cannot be packed lie in the archive as they are
    let noise: Vec<u8> = (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    ground.forge(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.entry(b'0', b"workspace/noise", b"", &noise);
    });
    let path = ground.archives.path(&ground.task);
    let mut bytes = fs::read(&path).expect("is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("is written");
    let to = ground.path("back");
    assert!(ground.archives.restore(&ground.task, What::All, &to, None, LIMITS).is_err());
    assert!(!to.exists());
}

#[test]
fn what_follows_the_end_or_is_passed_over_is_bounded_too() {
    let error = refused(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.raw(&[0; 1024]);
        for _ in 0..64 {
            forged.raw(&[b'x'; 64 << 10]);
        }
    });
    assert!(error.contains("goes on after its end"), "{error}");
    let ground = Ground::new();
    ground.forge(|forged| {
        forged.header(b'0', b"journal.jsonl", b"", 1 << 32);
        for _ in 0..64 {
            forged.raw(&[0; 64 << 10]);
        }
    });
    let to = ground.path("back");
    let error = ground.archives.restore(&ground.task, What::Workspace, &to, None, LIMITS);
    let error = error.expect_err("is refused").to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
    assert!(!to.exists());
}

#[test]
fn a_manifest_that_is_too_large_or_of_another_format_and_a_frame_that_wants_too_much_memory_are_refused() {
    let ground = Ground::new();
    let refused = || ground.archives.manifest(&ground.task).expect_err("is refused").to_string();
    ground.forge_bare(20, |forged| {
        forged.header(b'0', b"manifest.json", b"", (8 << 20) + 1);
        forged.raw(&[b' '; 64 << 10]);
    });
    assert!(refused().contains("does not begin with a manifest"), "{}", refused());
    let mut other = serde_json::json!(manifest(&ground.task, Contents::default()));
    other["format"] = 2.into();
    let other = other.to_string();
    ground.forge_bare(20, |forged| forged.entry(b'0', b"manifest.json", b"", other.as_bytes()));
    assert!(refused().contains("it has format 2"), "{}", refused());
    let good = serde_json::json!(manifest(&ground.task, Contents::default())).to_string();
    for (window, is_good) in [(27, true), (28, false)] {
        ground.forge_bare(window, |forged| forged.entry(b'0', b"manifest.json", b"", good.as_bytes()));
        assert_eq!(ground.archives.manifest(&ground.task).is_ok(), is_good, "{window}");
    }
}

#[test]
fn folders_and_links_have_no_content() {
    for kind in *b"25" {
        let error = refused(|forged| {
            forged.entry(b'5', b"workspace/", b"", b"");
            forged.entry(kind, b"workspace/thing", b"target", b"content");
        });
        assert!(error.contains("has content"), "{}: {error}", kind as char);
    }
}

#[test]
fn what_is_restored_has_no_set_user_id_bits() {
    let ground = Ground::new();
    ground.forge(|forged| {
        forged.entry(b'5', b"workspace/", b"", b"");
        forged.entry(b'0', b"workspace/tool", b"", b"x");
    });
    let to = ground.path("back");
    ground.archives.restore(&ground.task, What::All, &to, None, LIMITS).expect("is restored");
    for name in ["workspace", "workspace/tool"] {
        assert_eq!(fs::metadata(to.join(name)).expect("is there").mode() & 0o7777, 0o777, "{name}");
    }
}

#[test]
fn a_folder_that_is_not_empty_or_a_link_is_left_alone() {
    let ground = Ground::new();
    ground.forge(|forged| forged.entry(b'5', b"workspace/", b"", b""));
    let restore = |to: &Path| ground.archives.restore(&ground.task, What::All, to, None, LIMITS);
    let full = ground.path("full");
    fs::create_dir(&full).expect("is made");
    fs::write(full.join("mine"), "mine").expect("is written");
    assert!(restore(&full).is_err());
    assert_eq!(fs::read_to_string(full.join("mine")).expect("is there"), "mine");
    let empty = ground.path("empty");
    fs::create_dir(&empty).expect("is made");
    symlink(&empty, ground.path("link")).expect("is linked");
    assert!(restore(&ground.path("link")).is_err());
    assert_eq!(fs::read_dir(&empty).expect("is read").count(), 0);
    restore(&empty).expect("an empty folder is good");
    let none = "task-aaaaaa".parse().expect("an id");
    assert!(matches!(ground.archives.manifest(&none), Err(ArchiveError::None(_))));
}
