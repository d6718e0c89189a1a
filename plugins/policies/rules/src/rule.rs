//! One rule.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sortie_sdk::{Result, Verdict};

use crate::event::Subject;
use crate::example::Example;
use crate::fold::fold;
use crate::pattern;

/// What a rule wants, the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    Allow,
    Ask,
    Deny,
}

/// One text, or several.
#[derive(Clone, Debug)]
pub(crate) enum Texts {
    Own(Vec<String>),
    Shipped(&'static [&'static str]),
}

impl Texts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        let (own, shipped): (&[String], &[&str]) = match self {
            Self::Own(own) => (own, &[]),
            Self::Shipped(shipped) => (&[], shipped),
        };
        own.iter().map(String::as_str).chain(shipped.iter().copied())
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::Own(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::Own(texts))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Its name, for people to find it.
    name: String,
    /// The kinds of actions that it is about; `*` for all.
    action: Texts,
    /// What must hold; nothing: every action of these kinds.
    #[serde(default, rename = "match")]
    conditions: BTreeMap<String, Texts>,
    /// What it wants.
    decision: Choice,
    /// Why.
    reason: String,
    /// What would allow it.
    #[serde(default)]
    remedy: Option<String>,
    /// What this rule by itself must leave alone or, if it allows, allow.
    #[serde(default)]
    allows: Vec<Example>,
    /// What this rule by itself must stop or, if it allows, not allow.
    #[serde(default)]
    denies: Vec<Example>,
    /// For the host: whether a rule that denies reading or writing paths is
    /// also built into the workspace, where it holds for commands too. The
    /// default is yes.
    #[serde(default, rename = "workspace")]
    _workspace: Option<bool>,
}

/// One rule, its patterns in the form in which they are matched.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Rule {
    pub(crate) name: Cow<'static, str>,
    pub(crate) action: Texts,
    pub(crate) conditions: Vec<(Cow<'static, str>, Texts)>,
    pub(crate) decision: Choice,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) remedy: Option<Cow<'static, str>>,
    pub(crate) allows: Vec<Example>,
    pub(crate) denies: Vec<Example>,
}

impl From<Written> for Rule {
    fn from(written: Written) -> Self {
        let ignores_case = written.decision != Choice::Allow;
        let matched = |texts: Texts| match texts {
            Texts::Own(own) if ignores_case => Texts::Own(own.iter().map(|text| fold(text)).collect()),
            other => other,
        };
        let conditions = written.conditions.into_iter();
        Self {
            name: written.name.into(),
            action: written.action,
            conditions: conditions.map(|(key, texts)| (key.into(), matched(texts))).collect(),
            decision: written.decision,
            reason: written.reason.into(),
            remedy: written.remedy.map(Into::into),
            allows: written.allows,
            denies: written.denies,
        }
    }
}

/// What a rule matched: the path, where it is about paths.
pub(crate) struct Hit {
    path: Option<String>,
}

impl Rule {
    /// Whether the rule matches, and on what.
    ///
    /// # Errors
    /// If a pattern is malformed.
    pub(crate) fn matches(&self, subject: &Subject<'_>) -> Result<Option<Hit>> {
        if !self.action.iter().any(|action| action == "*" || action == subject.kind) {
            return Ok(None);
        }
        let mut hit = Hit { path: None };
        for (key, patterns) in &self.conditions {
            let Some(value) = self.first(subject, key, patterns)? else {
                return Ok(None);
            };
            if key == "path" {
                hit.path = Some(value);
            }
        }
        Ok(Some(hit))
    }

    /// The first value of a key that the patterns match.
    fn first(&self, subject: &Subject<'_>, key: &str, patterns: &Texts) -> Result<Option<String>> {
        let (text, values) = subject.values(key);
        let ignore_case = self.decision != Choice::Allow;
        for value in values {
            if pattern::any(patterns.iter(), &value, text, ignore_case)? {
                return Ok(Some(value.into_owned()));
            }
        }
        Ok(None)
    }

    pub(crate) fn verdict(&self, hit: &Hit) -> Verdict {
        let reason = match &hit.path {
            Some(path) => format!("{}: {}", self.reason, shown(path)),
            None => self.reason.clone().into_owned(),
        };
        let verdict = match self.decision {
            Choice::Allow => Verdict::allow(),
            Choice::Ask => Verdict::ask(reason),
            Choice::Deny => Verdict::deny(reason),
        };
        let verdict = verdict.rule(self.name.clone());
        match &self.remedy {
            Some(remedy) => verdict.remedy(remedy.clone()),
            None => verdict,
        }
    }
}

/// A path that somebody else chose, in one line of at most 200 characters.
fn shown(path: &str) -> String {
    path.chars().take(200).flat_map(char::escape_debug).collect()
}
