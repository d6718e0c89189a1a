//! temporary
use sortie_workspace::client::Stdin;
use sortie_workspace::probe::command;
use sortie_workspace::sandbox::{Owner, Sandbox, SandboxConfig, Toolchains};
fn main() {
    sortie_workspace::sandbox::helper_main_if_requested();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let f = std::path::PathBuf::from(format!("/tmp/box-exp-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&f);
        let o = Owner::current();
        for d in ["w", "h"] {
            std::fs::create_dir_all(f.join(d)).unwrap();
            std::os::unix::fs::chown(f.join(d), Some(o.uid), Some(o.gid)).unwrap();
        }
        let mut c =
            SandboxConfig::new(std::fs::read("/tmp/box-init-static").unwrap(), f.join("w"), f.join("h"));
        c.toolchains = Toolchains::discover(std::path::Path::new(&std::env::var("HOME").unwrap()), |n| {
            std::env::var_os(n)
        });
        c.certificates = std::env::var_os("SSL_CERT_FILE").map(Into::into);
        let t = std::time::Instant::now();
        let s = Sandbox::start(c.clone()).await.unwrap();
        eprintln!("start {:?} {:?}", t.elapsed(), s.enforced());
        let mut v = vec![];
        for _ in 0..20 {
            let t = std::time::Instant::now();
            let s = Sandbox::start(c.clone()).await.unwrap();
            v.push(t.elapsed());
            s.stop().await;
        }
        v.sort();
        eprintln!("median start {:?} min {:?}", v[10], v[0]);
        let a: Vec<String> = std::env::args().skip(1).collect();
        let a: Vec<&str> = a.iter().map(|s| s.as_str()).collect();
        let mut r = s.client().spawn(&command(&a, s.environment()), Stdin::Null, 1 << 20).await.unwrap();
        while let Some(c) = r.next(std::time::Duration::MAX).await.unwrap() {
            match c {
                sortie_policy::ports::Chunk::Stdout(b) | sortie_policy::ports::Chunk::Stderr(b) => {
                    print!("{}", String::from_utf8_lossy(&b))
                }
                c => println!("{c:?}"),
            }
        }
        s.stop().await;
        let _ = std::fs::remove_dir_all(&f);
    });
}
