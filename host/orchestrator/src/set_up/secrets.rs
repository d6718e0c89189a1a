//! What set-up left of the secrets that it was given: the task ends where
//! something is found, before anything of it is kept or shown.

use sortie_core::secret::Secret;
use sortie_core::text::{clip, one_line};
use sortie_policy::ports::{PortError, Workspace};
use sortie_workspace::needles::search_folder;

use super::joined;
use crate::run::{RunError, TaskRun, port};

const STEP: &str = "look for secrets that set-up left";

/// Bytes of names that are shown.
const SHOWN: usize = 1000;
/// Bytes of those at the end of an error, where its cause is.
const CAUSE: usize = 200;

impl TaskRun {
    /// Ends the task where commands left a secret beside work tree and home.
    pub(super) async fn search_root(&self, workspace: &dyn Workspace) -> Result<(), RunError> {
        self.search(async |needles| workspace.search_root(&needles).await).await
    }

    /// Ends the task where commands left a secret in work tree or home, and
    /// notes that they did not. Nothing may run in them.
    pub(crate) async fn search_folders(&self) -> Result<(), RunError> {
        if !self.plan.secrets.is_empty() {
            // what is root's may be out of sight, and whoever wrote it may write still
            self.folder.check_owned().map_err(PortError::internal).map_err(port(STEP))?;
        }
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
        let secrets = self.needles();
        let all: Vec<_> = secrets.iter().flat_map(|(_, needles)| needles.clone()).collect();
        if all.is_empty() {
            return Ok(());
        }
        let look = async |needles| {
            let looked = look(needles).await;
            looked
                .map_err(|error| port(STEP)(PortError { message: self.shown_error(&error.message), ..error }))
        };
        let mut found = look(all).await?;
        if found.is_empty() {
            return Ok(());
        }
        let mut left = None;
        for (name, needles) in secrets {
            let of_this = look(needles).await?;
            if !of_this.is_empty() {
                (left, found) = (Some(name), of_this);
                break;
            }
        }
        Err(RunError::LeftSecret {
            // what was there a moment ago was left, whosever it was
            name: left.unwrap_or("one of them").to_owned(),
            shown: clip(&self.shown(&found.join(", ")), SHOWN).into_owned(),
        })
    }

    /// Names that commands chose, all in one line without the secrets: one may be in a name as it is, or parted by what
    /// no line has. Nothing of it is cut: half a secret is not found.
    fn shown(&self, names: &str) -> String {
        self.scrub(&one_line(&self.scrub(names), usize::MAX))
    }

    /// An error that may name such, with its beginning and its end.
    fn shown_error(&self, message: &str) -> String {
        let whole = self.shown(message);
        let end = whole.ceil_char_boundary(whole.len().saturating_sub(CAUSE));
        match whole.len() {
            ..=SHOWN => whole,
            _ => format!("{}{}", clip(&whole, SHOWN - CAUSE), &whole[end..]),
        }
    }

    /// What is looked for, by the secret's name.
    fn needles(&self) -> Vec<(&str, Vec<Vec<u8>>)> {
        let bytes = |secret: &Secret| secret.forms().into_iter().map(String::into_bytes).collect();
        let secrets = self.plan.secrets.iter().map(|(name, secret)| (name.as_str(), bytes(secret)));
        secrets.filter(|(_, needles): &(_, Vec<_>)| !needles.is_empty()).collect()
    }
}
