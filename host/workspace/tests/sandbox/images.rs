//! Pulling, from a registry of the test's own: loopback ones need no certificate.

use std::process::Command;

use sortie_workspace::container::{Engine, NamedBy};

use crate::containers;
use crate::registry::Registry;

#[tokio::test]
async fn an_image_that_is_not_there_is_pulled_by_tag_or_digest_and_one_that_is_none_is_named() {
    if containers::image().is_none() {
        return;
    }
    let registry = Registry::new("pulled", None);
    let digest = registry.digest();
    let address = registry.serve(|_| ());
    let engine = Engine::connect().await.expect("there is one");
    let remove =
        |name: &str| Command::new("docker").args(["rmi", "--force", name]).output().expect("it is there");
    for name in [format!("{address}/there:1"), format!("{address}/there@sha256:{digest}")] {
        let mut said = Vec::new();
        engine.pull(&name, &NamedBy::Operator, |text| said.push(text.to_owned())).await.expect("it is there");
        assert!(said.iter().any(|text| text.starts_with("pulling ")), "{said:?}");
        said.clear();
        engine
            .pull(&name, &NamedBy::Operator, |text| said.push(text.to_owned()))
            .await
            .expect("it was pulled");
        assert!(said.is_empty(), "it was there: {said:?}");
        remove(&name);
    }
    let full = engine.clone().leaving(u64::MAX);
    let error = full
        .pull(&format!("{address}/there:1"), &NamedBy::Operator, |_| ())
        .await
        .expect_err("no room")
        .to_string();
    assert!(error.contains("are to stay free"), "{error}");
    let absent = format!("{address}/absent:1");
    let error =
        engine.pull(&absent, &NamedBy::Operator, |_| ()).await.expect_err("it is not there").to_string();
    assert!(error.contains(&absent) && error.contains("hint: "), "{error}");
    let error = engine.pull("a b", &NamedBy::Operator, |_| ()).await.expect_err("it is no name").to_string();
    assert!(error.contains("cannot be had"), "{error}");
}
