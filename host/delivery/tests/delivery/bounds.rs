//! Many files, large files, deep folders; and who owns what is written.

use std::fs;
use std::os::unix::fs::MetadataExt;

use sortie_core::action::{Against, ChangeKind, ReadOperation};
use sortie_delivery::TaskRepository;
use sortie_policy::ports::{ErrorCode, Repository};

use crate::support::{BRANCH, Ground, Task, git, write};

#[tokio::test]
async fn ten_thousand_files_are_delivered() {
    let ground = Ground::with(&[]);
    ground.import((0..10_000).map(|number| (format!("{}/{number}", number % 100), number.to_string())));
    let task = ground.task();
    task.prepare().await;
    assert_eq!(task.changes().await, []);
    assert_eq!(git(&task.tree, &["status", "--porcelain"]), "");
    for number in 0..2000 {
        write(&task.tree, &format!("new/{}/{number}", number % 100), "x");
    }
    write(&task.tree, "5/105", "changed");
    task.deliver().await;
    let listed = ground.in_origin(&["ls-tree", "-r", "--name-only", BRANCH]);
    assert_eq!(listed.lines().count(), 12_000);
}

#[tokio::test]
async fn a_file_of_300_megabytes_goes_both_ways() {
    let size = 300 << 20;
    let ground = Ground::with(&[("a", "1\n")]);
    let file = fs::File::create(ground.seed().join("big")).expect("is made");
    file.set_len(size).expect("is sparse");
    ground.publish();
    let task = ground.task();
    task.prepare().await;
    assert_eq!(fs::metadata(task.tree.join("big")).expect("is there").len(), size);
    fs::OpenOptions::new()
        .write(true)
        .open(task.tree.join("big"))
        .and_then(|file| file.set_len(size + 1))
        .expect("grows");
    assert_eq!(task.changes().await, [("big".to_owned(), ChangeKind::Modified)]);
    let diff = task.read(ReadOperation::Diff { against: Against::Head, max: 10_000 }, &["big"]).await;
    let diff = task.repository.diff(diff).await.expect("compares");
    assert!(diff.contains("Large files a/big and b/big differ (314572800 and 314572801 bytes)"), "{diff}");
    task.deliver().await;
    assert_eq!(ground.in_origin(&["cat-file", "-s", &format!("{BRANCH}:big")]), (size + 1).to_string());
}

#[tokio::test]
async fn a_file_beyond_the_bound_is_refused_by_name() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    let file = fs::File::create(task.tree.join("huge")).expect("is made");
    file.set_len((1 << 30) + 1).expect("is sparse");
    let error = task.commit().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("`huge`"), "{error}");
}

#[tokio::test]
async fn folders_without_end_are_left_out() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, &format!("{}x", "d/".repeat(150)), "x");
    write(&task.tree, &format!("{}x", "e/".repeat(250)), "x");
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert!(task.repository.take_notices().join("\n").contains("more than 200 folders deep"));
}

#[tokio::test]
async fn a_change_that_keeps_size_and_time_is_seen() {
    let ground = Ground::with(&[("a", "11\n")]);
    let task = ground.task();
    task.prepare().await;
    let time = fs::metadata(task.tree.join("a")).and_then(|data| data.modified()).expect("has a time");
    for content in ["22\n", "33\n", "44\n", "55\n"] {
        // what it was is remembered only where it was read some time after it was written
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(task.changes().await, []);
        write(&task.tree, "a", content);
        fs::File::options()
            .write(true)
            .open(task.tree.join("a"))
            .and_then(|file| file.set_modified(time))
            .expect("is set");
        task.commit().await.expect("the change is seen");
    }
    task.push().await.expect("pushes");
    assert_eq!(ground.in_origin(&["show", &format!("{BRANCH}:a")]), "55");
}

#[tokio::test]
async fn what_is_written_belongs_to_the_workspaces_user() {
    // only root can give files away, and not in a user namespace of one user
    let probe = tempfile::NamedTempFile::new().expect("a file");
    if std::os::unix::fs::chown(probe.path(), Some(12_345), Some(12_346)).is_err() {
        return;
    }
    let ground = Ground::with(&[("dir/a", "1\n")]);
    std::os::unix::fs::symlink("a", ground.seed().join("dir/link")).expect("is linked");
    ground.publish();
    let task = Task::on(&ground, &ground.url(), |config| config.owner = Some((12_345, 12_346)));
    task.prepare().await;
    let mut folders = vec![task.tree.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder)
            .expect("is read")
            .map(|entry| entry.expect("is read").path())
            .chain([folder.clone()])
        {
            let data = fs::symlink_metadata(&path).expect("has metadata");
            assert_eq!((data.uid(), data.gid()), (12_345, 12_346), "{}", path.display());
            seen += 1;
            if data.is_dir() && path != folder {
                folders.push(path);
            }
        }
    }
    assert!(seen > 10);
    assert_eq!(task.changes().await, []);
}

#[test]
fn a_branch_that_steers_git_is_refused_before_anything_is_made() {
    let ground = Ground::with(&[("a", "1\n")]);
    let config = ground.task().config;
    for branch in ["-d", "a..b", "HEAD", ""] {
        let config = sortie_delivery::Config {
            branch: branch.into(),
            host_repository: ground.path().join("none.git"),
            ..config.clone()
        };
        let error = TaskRepository::open(config).expect_err(branch);
        assert_eq!(error.code, ErrorCode::Invalid);
    }
    assert!(!ground.path().join("none.git").exists());
}
