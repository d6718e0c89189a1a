//! Looking for secrets in what a set-up changed.

use crate::support::{Place, docker, image, start, succeeds};

#[tokio::test]
async fn secrets_are_found_wherever_set_up_put_them_and_nowhere_else() {
    let Some(image) = image() else { return };
    let place = Place::new("search");
    let set_up = start(place.set_up(&image)).await;
    let nothing = set_up.search_root(&[b"needle-7".to_vec()]).await.expect("it is searched");
    assert_eq!(nothing, Vec::<String>::new());
    let script = "set -e
        echo 'machine x password needle-7' > /srv/.netrc; chmod 000 /srv/.netrc
        mkdir -p /opt/deep/er; head -c 1048570 /dev/zero > /opt/deep/er/cut; printf needle-7 >> /opt/deep/er/cut
        touch /opt/a-needle-7; ln -s /needle-7 /opt/link; mkdir /opt/needle-7.d; mkfifo /opt/fifo
        echo needle-7 >> /etc/hostname 2>/dev/null || true; echo 'x needle-7' >> /etc/motd
        printf bmVlZGxlLTc= > /opt/coded; echo needle-7 > \"$(printf '/opt/odd\\377\\342\\202 name')\"
        echo needle > /opt/no; echo needle-7 > /workspace/mine; echo needle-7 > ~/mine; echo needle-7 > /tmp/mine
        touch /opt/gone-needle-7; rm /opt/gone-needle-7; rm /etc/os-release; echo elsewhere > /etc/os-release";
    succeeds(&set_up, script).await;
    let needles = [b"needle-7".to_vec(), b"bmVlZGxlLTc=".to_vec(), b"Debian".to_vec()];
    let mut found = set_up.search_root(&needles).await.expect("it is searched");
    found.sort();
    let mut expected = vec![
        "/etc/motd",
        "/opt/a-needle-7",
        "/opt/coded",
        "/opt/deep/er/cut",
        "/opt/link",
        "/opt/needle-7.d/",
        "/opt/odd\u{fffd}\u{fffd} name",
        "/srv/.netrc",
    ];
    // a file of the image's own that was added to holds what it held
    assert!(!succeeds(&set_up, "cat /etc/motd").await.is_empty());
    expected.sort_unstable();
    assert_eq!(found, expected);
    set_up.finish().await.expect("it ends");
}

#[tokio::test]
async fn an_image_keeps_no_attribute_that_is_not_searched() {
    let Some(image) = image() else { return };
    let place = Place::new("attributes");
    let set_up = start(place.set_up(&image)).await;
    let set = "python3 -c 'import os; open(\"/opt/x\", \"w\"); os.setxattr(\"/opt/x\", \"user.token\", b\"needle-7\"); \
               print(os.listxattr(\"/opt/x\"))'";
    assert_eq!(succeeds(&set_up, set).await.trim(), "['user.token']");
    let found = set_up.search_root(&[b"needle-7".to_vec()]).await.expect("it is searched");
    let name = format!("sortie-test-snapshot:attributes-{}", std::process::id());
    let id = set_up.commit(&name, 1 << 30).await.expect("it is kept");
    set_up.finish().await.expect("it ends");
    let work = start(place.config(&id)).await;
    let kept = succeeds(&work, "python3 -c 'import os; print(os.listxattr(\"/opt/x\"))'").await;
    // Docker's archives and images have none, Podman's have them
    assert_eq!(kept.contains("user.token"), !found.is_empty(), "{kept} {found:?}");
    work.stop().await;
    docker(&["rmi", &id]);
}
