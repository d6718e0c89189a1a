//! The rules that the policy is shipped with, from `default.json`.

use std::borrow::Cow;

use serde::Deserialize;
use sortie_sdk::Result;

use crate::rule::{Choice, Rule, Texts};

/// A shipped rule, without its examples.
pub(crate) struct Shipped {
    pub(crate) name: &'static str,
    pub(crate) action: &'static [&'static str],
    pub(crate) conditions: &'static [(&'static str, &'static [&'static str])],
    pub(crate) decision: Choice,
    pub(crate) reason: &'static str,
    pub(crate) remedy: Option<&'static str>,
}

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

impl From<&Shipped> for Rule {
    fn from(shipped: &Shipped) -> Self {
        let conditions = shipped.conditions.iter();
        Self {
            name: Cow::Borrowed(shipped.name),
            action: Texts::Shipped(shipped.action),
            conditions: conditions.map(|(key, texts)| (Cow::Borrowed(*key), Texts::Shipped(texts))).collect(),
            decision: shipped.decision,
            reason: Cow::Borrowed(shipped.reason),
            remedy: shipped.remedy.map(Cow::Borrowed),
            allows: Vec::new(),
            denies: Vec::new(),
        }
    }
}

/// The shipped rules with their examples, to be checked.
///
/// # Errors
/// If they do not parse.
pub(crate) fn with_examples() -> Result<Vec<Rule>> {
    #[derive(Deserialize)]
    struct File {
        rule: Vec<Rule>,
    }
    let file: File = serde_json::from_str(include_str!("../default.json"))?;
    Ok(file.rule)
}
