//! What set-up left of the secrets that it was given: the task ends where
//! something is found, before anything of it is kept or shown.

use sortie_core::secret::Secret;
use sortie_core::text::one_line;
use sortie_policy::ports::{PortError, Workspace};
use sortie_workspace::needles::search_folder;

use super::joined;
use crate::run::{RunError, TaskRun, port};

impl TaskRun {
    /// Ends the task where commands left a secret beside work tree and home.
    pub(super) async fn search_root(&self, workspace: &dyn Workspace) -> Result<(), RunError> {
        self.search(async |needles| workspace.search_root(&needles).await).await
    }

    /// Ends the task where commands left a secret in work tree or home, and
    /// notes that they did not. Nothing may run in them.
    pub(crate) async fn search_folders(&self) -> Result<(), RunError> {
        self.search(async |needles| {
            let folders = [(self.folder.work_tree(), ""), (self.folder.home(), "~/")];
            let found = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                for (folder, prefix) in folders {
                    let paths = search_folder(&folder, &needles)?;
                    found.extend(paths.iter().map(|path| format!("{prefix}{}", path.display())));
                }
                Ok::<_, std::io::Error>(found)
            });
            joined(found.await)
        })
        .await?;
        let cleared = self.folder.clear_of_suspicion();
        cleared.map_err(PortError::internal).map_err(port("note that no secret is left"))
    }

    /// Looks for all secrets at once, and for each alone only to name it.
    async fn search(
        &self,
        look: impl AsyncFn(Vec<Vec<u8>>) -> Result<Vec<String>, PortError>,
    ) -> Result<(), RunError> {
        const STEP: &str = "look for secrets that set-up left";
        let secrets = self.needles();
        let all: Vec<_> = secrets.iter().flat_map(|(_, needles)| needles.clone()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let mut found = look(all).await.map_err(port(STEP))?;
        if found.is_empty() {
            return Ok(());
        }
        let mut left = None;
        for (name, needles) in secrets {
            let of_this = look(needles).await.map_err(port(STEP))?;
            if !of_this.is_empty() {
                (left, found) = (Some(name), of_this);
                break;
            }
        }
        Err(RunError::LeftSecret {
            // what was there a moment ago was left, whosever it was
            name: left.unwrap_or("one of them").to_owned(),
            // it may be in a file's name
            shown: self.scrub(&one_line(&found.join(", "), 1000)),
        })
    }

    /// What is looked for, by the secret's name.
    fn needles(&self) -> Vec<(&str, Vec<Vec<u8>>)> {
        let bytes = |secret: &Secret| secret.forms().into_iter().map(String::into_bytes).collect();
        let secrets = self.plan.secrets.iter().map(|(name, secret)| (name.as_str(), bytes(secret)));
        secrets.filter(|(_, needles): &(_, Vec<_>)| !needles.is_empty()).collect()
    }
}
