//! Set-up containers: what commands may do there, and what is left of it afterwards.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FileType, Mode, mknodat};
use sortie_core::action::Stage;
use sortie_policy::ports::Exit;
use sortie_workspace::container::{Container, ContainerConfig, Reclaimed};
use sortie_workspace::sandbox::Owner;

use crate::support::{Place, engine, give_away, image, sh, start, succeeds};

/// Everything beneath a folder, itself included.
fn beneath(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    if folder.symlink_metadata().expect("it is there").is_dir() {
        for entry in std::fs::read_dir(folder).expect("it is a folder") {
            found.extend(beneath(&entry.expect("it is there").path()));
        }
    }
    found
}

fn assert_given_back(folder: &Path) {
    let owner = Owner::current();
    for path in beneath(folder) {
        let metadata = path.symlink_metadata().expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid()), (owner.uid, owner.gid), "{}", path.display());
        assert_eq!(metadata.mode() & 0o6000, 0, "{}: {:o}", path.display(), metadata.mode());
    }
}

#[tokio::test]
async fn a_set_up_changes_the_image_and_the_agent_cannot() {
    let Some(image) = image() else { return };
    let place = Place::new("changes");
    let set_up = start(place.set_up(&image)).await;
    assert_eq!(succeeds(&set_up, "id -u; echo $USER $HOME").await, "0\nroot /home/agent\n");
    // as packages do: programs, users of their own, files that are theirs
    let install = "printf '#!/bin/sh\\necho installed' > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool
         useradd --system --home-dir /var/lib/db --create-home db
         install -d -o db -g db /var/lib/db/data; setpriv --reuid db --regid db --clear-groups touch /var/lib/db/data/own
         echo cached > ~/cache; echo made > built; echo gone > /tmp/gone";
    succeeds(&set_up, &format!("set -e; {install}")).await;
    let name = format!("sortie-test-snapshot:changes-{}", std::process::id());
    let id = set_up.commit(&name, 1 << 30).await.expect("it is kept");
    set_up.finish().await.expect("it ends");

    let work = start(place.config(&id)).await;
    let seen = "tool; id -un; cat ~/cache built; ls /tmp; stat -c %U /var/lib/db/data/own; getent passwd db | cut -d: -f6";
    assert_eq!(succeeds(&work, seen).await, "installed\nagent\ncached\nmade\ndb\n/var/lib/db\n");
    let denied = sh(&work, "echo x > /usr/local/bin/tool; echo x >> /etc/passwd").await;
    assert_eq!(denied.stderr.matches("cannot create").count(), 2, "{denied:?}");
    succeeds(&work, "echo changed > built; rm ~/cache").await;
    work.stop().await;
}

#[tokio::test]
async fn without_root_a_set_up_is_the_agents_user_with_no_capability() {
    let Some(image) = image() else { return };
    let place = Place::new("plain");
    let set_up = start(ContainerConfig { root: false, ..place.set_up(&image) }).await;
    assert_eq!(
        succeeds(&set_up, "id -un; grep CapBnd /proc/self/status").await,
        "agent\nCapBnd:\t0000000000000000\n"
    );
    let denied = sh(&set_up, "touch /usr/x").await;
    assert!(denied.stderr.contains("Permission denied"), "{denied:?}");
    set_up.stop().await;
}

#[tokio::test]
async fn root_of_a_set_up_has_what_installing_takes_and_no_more() {
    let Some(image) = image() else { return };
    let place = Place::new("root");
    std::fs::write(place.work_tree.join("secret"), "a secret").expect("written");
    std::fs::create_dir(place.work_tree.join("kept")).expect("made");
    std::fs::write(place.work_tree.join("kept/file"), "kept").expect("written");
    give_away(&place.work_tree.join("kept"));
    let config = ContainerConfig {
        masks: vec!["secret".into()],
        read_only: vec!["kept".into()],
        ..place.set_up(&image)
    };
    let set_up = start(config).await;
    for who in ["self", "1"] {
        let status = succeeds(&set_up, &format!("cat /proc/{who}/status")).await;
        // chown, dac_override, fowner, kill, setgid, setuid
        for line in
            ["CapBnd:\t00000000000000eb", "CapEff:\t00000000000000eb", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.contains(line), "{who}, {line}: {status}");
        }
    }
    for attempt in [
        "echo x > secret",
        "mv secret other",
        "umount secret",
        "umount -l kept",
        "echo x > kept/file",
        "touch kept/new",
        "mount -t tmpfs none /mnt",
        "mount --bind /etc/hosts secret",
        "mknod /dev/sda b 8 0",
        "mknod node c 1 3",
        "ln /etc/passwd passwd",
        "ln kept/file file",
        "chroot / true",
        "nsenter -t 1 -m true",
        "cat /proc/1/environ",
        "ls /proc/1/root",
        "touch /.sortie/x",
    ] {
        let tried = sh(&set_up, attempt).await;
        assert!(tried.exit != Exit::Code(0) && tried.stdout.is_empty(), "{attempt}: {tried:?}");
    }
    // what root may open all the same has nothing in it
    for name in ["secret", "/proc/keys", "/proc/kallsyms", "/proc/timer_list"] {
        assert_eq!(sh(&set_up, &format!("head -c 1 {name}")).await.stdout, "", "{name}");
    }
    // opened and not written to: without the guard, these would be the host's own. Kernels differ in what they have
    let frozen = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"];
    for path in frozen.into_iter().filter(|path| Path::new(path).exists()) {
        let tried = sh(&set_up, &format!("exec 3>>{path}")).await;
        assert!(tried.exit != Exit::Code(0) && tried.stderr.contains("Read-only file system"), "{tried:?}");
    }
    sh(&set_up, "kill -9 1").await;
    succeeds(&set_up, "test ! -e node && test ! -e passwd && test ! -e file && test ! -e /dev/sda").await;
    let interfaces = succeeds(&set_up, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await;
    assert_eq!(interfaces, "lo\n");
    set_up.finish().await.expect("it ends");
    let read = |name: &str| std::fs::read_to_string(place.work_tree.join(name)).expect("it is there");
    assert_eq!((read("secret"), read("kept/file")), ("a secret".to_owned(), "kept".to_owned()));
    assert_given_back(&place.work_tree);
}

#[tokio::test]
async fn a_command_of_another_user_than_root_ends_with_its_limit() {
    let Some(image) = image() else { return };
    let place = Place::new("kill");
    let set_up = start(place.set_up(&image)).await;
    let argv = ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "sleep", "600"];
    let mut spec = sortie_workspace::probe::command(&argv, set_up.environment());
    spec.timeout = std::time::Duration::from_millis(300);
    let client = set_up.client();
    let mut running =
        client.spawn(&spec, sortie_workspace::client::Stdin::Null, 1 << 20).await.expect("it starts");
    // it was there to be ended
    assert_eq!(crate::support::outcome(&mut running).await.exit, Exit::TimedOut);
    drop(running);
    crate::support::eventually("it is gone", async || {
        // one may end while it is looked at
        sh(&set_up, "cat /proc/[0-9]*/comm").await.stdout.lines().all(|name| name != "sleep")
    })
    .await;
    set_up.stop().await;
}

#[tokio::test]
async fn what_root_of_a_hostile_set_up_left_is_the_owners_again() {
    let Some(image) = image() else { return };
    let place = Place::new("hostile");
    let set_up = start(place.set_up(&image)).await;
    let hostile = "ln -s /etc/passwd link; ln -s / root; ln -s /home/agent/x dangling; ln -s loop loop
        cp /bin/sh shell; chmod 6755 shell; ln shell hard; mkdir -p deep/er; chmod 3777 deep; cp -p shell deep/er/
        mkfifo fifo; mkdir shut; touch shut/file; chmod 000 shut; chmod 000 shut/file
        touch \"$(printf 'odd\\nname \\377')\"; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'
        chown -R 12345:54321 deep; cp shell ~/; ln -s /workspace ~/work; ln shell ~/crossed
        (while :; do touch ~/again; cp /bin/sh ~/late; chmod 6755 ~/late; done) >/dev/null 2>&1 &";
    sh(&set_up, hostile).await;
    assert_eq!(place.work_tree.join("shell").metadata().expect("it is there").mode() & 0o6777, 0o6755);
    assert!(!place.home.join("crossed").exists(), "no hard link leads out of the work tree");
    set_up.finish().await.expect("it ends");
    set_up.finish().await.expect("a second time has nothing to do");
    for folder in [&place.work_tree, &place.home] {
        assert_given_back(folder);
    }
    assert_eq!(
        std::fs::read_link(place.work_tree.join("link")).expect("a link").as_path(),
        Path::new("/etc/passwd")
    );
    assert_eq!(place.work_tree.join("shell").metadata().expect("it is there").mode() & 0o777, 0o755);
    assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());
    assert!(!place.outside.path().join("container-root").exists());
}

#[test]
fn giving_back_follows_no_link_and_clears_device_nodes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give away");
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let [folder, outside] = ["folder", "outside"].map(|name| place.path().join(name));
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::create_dir_all(&outside).expect("made");
    std::fs::write(outside.join("file"), "").expect("written");
    std::fs::set_permissions(outside.join("file"), Permissions::from_mode(0o4755)).expect("set");
    symlink(&outside, folder.join("to-folder")).expect("linked");
    symlink(outside.join("file"), folder.join("to-file")).expect("linked");
    std::fs::write(folder.join("own"), "").expect("written");
    std::fs::set_permissions(folder.join("own"), Permissions::from_mode(0o4755)).expect("set");
    for (name, kind) in [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
        mknodat(rustix::fs::CWD, folder.join(name), kind, Mode::RUSR, 0x103).expect("root may");
    }
    let give_back = |owner: &str, folder: &Path| {
        let output = Command::new("/proc/self/exe").args(["--give-back", owner]).arg(folder).output();
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(give_back("65521:65521", &folder), (Some(0), String::new()));
    assert_given_back(&folder);
    assert!(!folder.join("char").exists() && !folder.join("block").exists());
    let spared = outside.join("file").metadata().expect("it is there");
    assert_eq!(
        (spared.uid(), spared.mode() & 0o7777, outside.metadata().expect("there").uid()),
        (0, 0o4755, 0)
    );
    let (code, said) = give_back("65521:65521", &folder.join("to-folder"));
    assert_eq!(code, Some(4), "{said}");
    assert_eq!(give_back("0", &folder).0, Some(4));
}

#[tokio::test]
async fn folders_of_a_host_that_was_killed_in_a_set_up_as_root_are_given_back_at_the_next_start() {
    let Some(image) = image() else { return };
    let place = Place::new("reclaim");
    let set_up = start(place.set_up(&image)).await;
    succeeds(&set_up, "mkdir made; touch made/file; chmod 700 made; chown 0:0 . ~").await;
    // as when its host is killed: the socket closes and nobody gives anything back
    drop(set_up);
    assert_eq!(place.work_tree.join("made").metadata().expect("it is there").uid(), 0);
    let work = start(place.config(&image)).await;
    assert_given_back(&place.work_tree);
    assert_eq!(succeeds(&work, "id -un; touch made/more; ls made").await, "agent\nfile\nmore\n");
    work.stop().await;
    let again = Container::reclaim(&engine().await, &place.config(&image)).await;
    assert_eq!(again.expect("there is nothing to do"), Reclaimed::default());
}

#[tokio::test]
async fn whoever_wants_to_clear_up_after_a_host_that_was_killed_is_given_the_folders_back_without_a_start() {
    let Some(image) = image() else { return };
    let place = Place::new("given");
    // by whoever knows folders and labels, and nothing of images
    let known = ContainerConfig { image: String::new(), ..place.config(&image) };
    assert!(!Container::is_left(&known.folder));
    for is_work_tree_gone in [false, true] {
        let set_up = start(place.set_up(&image)).await;
        succeeds(&set_up, "mkdir made ~/made; touch made/file ~/made/file; chmod 700 made ~/made").await;
        drop(set_up);
        assert_eq!(place.home.join("made").metadata().expect("it is there").uid(), 0);
        assert!(Container::is_left(&known.folder) && Container::is_roots(&known.folder));
        if is_work_tree_gone {
            std::fs::remove_dir_all(&place.work_tree).expect("root may");
        }
        assert!(Container::reclaim(&engine().await, &known).await.expect("it can be done").folders);
        assert_given_back(&place.home);
        if !is_work_tree_gone {
            assert_given_back(&place.work_tree);
        }
        assert!(!Container::is_roots(&known.folder));
        assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());
        std::fs::remove_dir_all(place.home.join("made")).expect("it is there");
    }
    let note = place.outside.path().join("container-root");
    std::fs::write(&note, &image).expect("written");
    Container::forget_gone(&known).expect("it can be done");
    assert!(Container::is_roots(&known.folder), "one of the folders is there");
    std::fs::remove_dir_all(&place.home).expect("it is there");
    Container::forget_gone(&known).expect("it can be done");
    assert!(!Container::is_roots(&known.folder) && !note.exists(), "there is nothing to give back any more");
}

#[tokio::test]
async fn folders_are_given_back_though_the_image_of_the_set_up_has_gone() {
    let (Some(image), Some(init)) = (image(), std::env::var_os("SORTIE_TEST_INIT")) else {
        return eprintln!("skipped: SORTIE_TEST_INIT names no init that runs without files");
    };
    let place = Place::new("gone");
    std::fs::write(place.work_tree.join("file"), "").expect("written");
    std::fs::write(place.outside.path().join("container-root"), "sortie-no-such-image:1").expect("written");
    let init = std::fs::read(init).expect("it is there").into();
    let known = ContainerConfig { init, ..place.config(&image) };
    assert!(Container::reclaim(&engine().await, &known).await.expect("it can be done").folders);
    assert_given_back(&place.work_tree);
}

#[tokio::test]
async fn nobody_is_root_at_work() {
    let Some(image) = image() else { return };
    let place = Place::new("work");
    let config = ContainerConfig { stage: Stage::Work, ..place.set_up(&image) };
    let error = Container::start(&engine().await, config).await.expect_err("it is refused").to_string();
    assert!(error.contains("root in a set-up alone"), "{error}");
    assert_eq!(place.listed(&["ps", "--all"]), Vec::<String>::new());
    let plain = start(place.config(&image)).await;
    assert_eq!(sh(&plain, "id -u").await.exit, Exit::Code(0));
    plain.stop().await;
}
