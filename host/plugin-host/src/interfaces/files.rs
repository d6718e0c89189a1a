//! `sortie:host/files`.

use sortie_core::action::{FileRead, FileWrite, IfMatch, ReadOperation, WriteOperation};
use sortie_policy::ports::{ErrorCode, PortError, SearchQuery};

use super::{invalid, too_large};
use crate::bindings::host::files;
use crate::failure::HostError;
use crate::grants::{Wanted, normal};
use crate::limits::CONTENT;
use crate::state::{Call, State};

/// Paths of a listing.
const LISTED: u32 = 10_000;
/// Matches of a search.
const MATCHES: u32 = 1000;
/// Bytes of a glob or an expression.
const PATTERN: usize = 4096;
/// Bytes of a text that an edit replaces or puts in.
const TEXT: usize = 8 << 20;

impl files::Host for State {
    async fn read(&mut self, path: String, offset: u64, max: u32) -> Result<files::Content, HostError> {
        let call = self.call()?;
        let path = readable(&call, &path)?;
        if max as usize > CONTENT {
            return Err(too_large("a read returns at most 8 MiB").into());
        }
        let action = FileRead { operation: ReadOperation::Read { offset, max }, paths: vec![path] };
        let content = call.until_cancelled(async {
            let permit = call.permit(action).await?;
            call.task.context.files.read(permit).await
        });
        let content = content.await?;
        Ok(files::Content { data: content.data, size: content.size, etag: content.etag })
    }

    async fn write(
        &mut self,
        path: String,
        data: Vec<u8>,
        if_match: files::IfMatch,
    ) -> Result<String, HostError> {
        if data.len() > CONTENT {
            return Err(too_large(format!("{} bytes are more than a file's 8 MiB", data.len())).into());
        }
        let if_match = match if_match {
            files::IfMatch::Absent => IfMatch::Absent,
            files::IfMatch::Any => IfMatch::Any,
            files::IfMatch::Etag(etag) if etag.len() <= 256 => IfMatch::Etag(etag),
            files::IfMatch::Etag(_) => {
                return Err(invalid("an etag is what `read` or `write` returned").into());
            }
        };
        self.change(path, WriteOperation::Write { data: data.into(), if_match })
            .await
            .map(Option::unwrap_or_default)
    }

    async fn edit(
        &mut self,
        path: String,
        old: String,
        new: String,
        count: u32,
    ) -> Result<String, HostError> {
        if old.is_empty() || count == 0 {
            return Err(invalid("an edit replaces a text that is not empty, at least once").into());
        }
        if old.len() > TEXT || new.len() > TEXT {
            return Err(too_large("an edit replaces texts of at most 8 MiB").into());
        }
        self.change(path, WriteOperation::Edit { old, new, count }).await.map(Option::unwrap_or_default)
    }

    async fn remove(&mut self, path: String) -> Result<(), HostError> {
        self.change(path, WriteOperation::Remove).await.map(drop)
    }

    async fn glob(&mut self, pattern: String, max: u32) -> Result<files::Listing, HostError> {
        let call = self.call()?;
        check_pattern(&pattern)?;
        let (files, max) = (&call.task.context.files, max.min(LISTED));
        let listing = call.until_cancelled(async {
            let survey = files.survey_glob(&pattern, max).await?;
            let operation = ReadOperation::Glob { pattern: pattern.clone() };
            let permit = call.permit(FileRead { operation, paths: granted(&call, survey.paths) }).await?;
            let mut paths = files.glob(permit).await?;
            let truncated = survey.truncated || paths.len() > max as usize;
            paths.truncate(max as usize);
            Ok(files::Listing { paths, truncated })
        });
        Ok(listing.await?)
    }

    async fn search(&mut self, query: files::Query) -> Result<files::Found, HostError> {
        let call = self.call()?;
        check_pattern(&query.pattern)?;
        query.glob.as_deref().map(check_pattern).transpose()?;
        let files::Query { pattern, glob, ignore_case, max_matches } = query;
        let query = SearchQuery { pattern, glob, ignore_case, max_matches: max_matches.min(MATCHES) };
        let files = &call.task.context.files;
        let found = call.until_cancelled(async {
            let survey = files.survey_search(&query).await?;
            let operation = ReadOperation::Search {
                pattern: query.pattern.clone(),
                ignore_case,
                max_matches: query.max_matches,
            };
            let permit = call.permit(FileRead { operation, paths: granted(&call, survey.paths) }).await?;
            let mut matches = files.search(permit).await?;
            let most = query.max_matches as usize;
            let truncated = survey.truncated || matches.len() >= most;
            matches.truncate(most);
            let matches = matches
                .into_iter()
                .map(|m| files::Match { path: m.path, line: m.line, text: m.text })
                .collect();
            Ok(files::Found { matches, truncated, too_large: survey.too_large })
        });
        Ok(found.await?)
    }
}

impl State {
    async fn change(&mut self, path: String, operation: WriteOperation) -> Result<Option<String>, HostError> {
        let call = self.call()?;
        let path = normal(&path)?;
        call.granted(Wanted::Write(&path))?;
        let written = call.until_cancelled(async {
            let permit = call.permit(FileWrite { path, operation }).await?;
            call.task.context.files.write(permit).await
        });
        Ok(written.await?)
    }
}

fn readable(call: &Call, path: &str) -> Result<String, PortError> {
    let path = normal(path)?;
    call.granted(Wanted::Read(&path))?;
    Ok(path)
}

/// The paths that the grants cover: of the others the guest does not learn.
fn granted(call: &Call, mut paths: Vec<String>) -> Vec<String> {
    paths.retain(|path| call.plugin.grants.covers_read(path));
    paths
}

fn check_pattern(pattern: &str) -> Result<(), PortError> {
    if pattern.is_empty() || pattern.len() > PATTERN {
        return Err(PortError::new(ErrorCode::Invalid, "a pattern has 1 to 4096 bytes"));
    }
    Ok(())
}
