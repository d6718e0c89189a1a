//! What the manifests in the root of the work tree suggest.

use std::collections::BTreeSet;

use sortie_core::Actor;
use sortie_core::action::{FileRead, ReadOperation};
use sortie_environment::{Detected, PYTEST, detect, is_python};
use sortie_policy::ports::SearchQuery;

use crate::registries::is_manifest;
use crate::run::{RunError, TaskRun, port};

impl TaskRun {
    /// The usual install commands for what lies in the work tree, and an image
    /// with its toolchain.
    pub(crate) async fn detect(&self) -> Result<Detected, RunError> {
        let names = self.root_manifests().await?;
        let uses_pytest = is_python(&names) && {
            let (pattern, glob) = PYTEST;
            let query = SearchQuery {
                pattern: pattern.into(),
                glob: Some(glob.into()),
                ignore_case: false,
                max_matches: 1,
            };
            !self.files.survey_search(&query).await.map_err(port("look for tests"))?.paths.is_empty()
        };
        Ok(detect(&names, uses_pytest))
    }

    /// The manifests in the root of the work tree. No other name is asked for: a rule may be about any file there.
    pub(crate) async fn root_manifests(&self) -> Result<BTreeSet<String>, RunError> {
        let files = &self.files;
        let survey = files.survey_glob("*", 10_000).await.map_err(port("look for manifests"))?;
        let paths = survey.paths.into_iter().filter(|name| is_manifest(name)).collect();
        let read = FileRead { operation: ReadOperation::Glob { pattern: "*".into() }, paths };
        let permit = self.gate.permit(&Actor::Host, read).await?;
        Ok(files.glob(permit).await.map_err(port("look for manifests"))?.into_iter().collect())
    }
}
