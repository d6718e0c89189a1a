//! The three calls that reach a remote: list, fetch, push.

use std::collections::BTreeMap;
use std::time::Duration;

use git2::Oid;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use crate::git::{Git, Verb, failure};
use crate::source::Address;

const LIST_LIMIT: Duration = Duration::from_secs(120);
const FETCH_LIMIT: Duration = Duration::from_secs(60 * 60);
const PUSH_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Where the host's repository keeps what it has just fetched.
pub(crate) const FETCHED: &str = "refs/sortie/fetched";

/// What a remote has of the references that were asked for.
pub(crate) type Advertised = BTreeMap<String, Oid>;

/// Which commit is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The first of these references that the remote has.
    References(Vec<String>),
    /// A commit by its full id.
    Commit(Oid),
}

impl Wanted {
    /// Reads a base as a user names it; none is the remote's HEAD.
    pub(crate) fn parse(base: Option<&str>) -> Result<Self, PortError> {
        let Some(name) = base.filter(|name| *name != "HEAD") else {
            return Ok(Self::References(vec!["HEAD".into()]));
        };
        if name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Oid::from_str(name).map(Self::Commit).map_err(PortError::internal);
        }
        let candidates = if name.starts_with("refs/") {
            vec![name.to_owned()]
        } else {
            ["refs/heads/", "refs/tags/", "refs/remotes/"]
                .iter()
                .map(|kind| format!("{kind}{name}"))
                .collect()
        };
        if name.starts_with('-') || !candidates.iter().all(|name| git2::Reference::is_valid_name(name)) {
            let message = format!(
                "`{}` cannot be a base; hint: a branch, a tag or a commit's full id",
                one_line(name, 80)
            );
            return Err(PortError::new(ErrorCode::Invalid, message));
        }
        Ok(Self::References(candidates))
    }

    pub(crate) fn references(&self) -> &[String] {
        match self {
            Self::References(names) => names,
            Self::Commit(_) => &[],
        }
    }

    /// What to ask the remote for, given what it has.
    pub(crate) fn choose(&self, advertised: &Advertised, address: &Address) -> Result<String, PortError> {
        let names = match self {
            Self::Commit(id) => return Ok(id.to_string()),
            Self::References(names) => names,
        };
        if let Some(name) = names.iter().find(|name| advertised.contains_key(*name)) {
            return Ok(name.clone());
        }
        let place = one_line(&address.masked(), 200);
        let message = match names.as_slice() {
            [head] if head == "HEAD" => format!(
                "{place} has no commit on its HEAD: it is empty, or its HEAD names a branch that does not exist; \
                 hint: `--base BRANCH`"
            ),
            names => {
                let short = names[0].strip_prefix("refs/heads/").unwrap_or(&names[0]);
                format!(
                    "{place} has no branch and no tag `{}`; hint: a branch, a tag or a commit's full id",
                    one_line(short, 80)
                )
            }
        };
        Err(PortError::new(ErrorCode::NotFound, message))
    }
}

/// Asks a remote for some of its references by their full names, or for all
/// where none is named.
pub(crate) async fn list(git: &Git, address: &Address, names: &[String]) -> Result<Advertised, PortError> {
    let finished = git.run(Verb::List, &["--quiet"], address, names, LIST_LIMIT).await?;
    if !finished.status.success() {
        return Err(failure(Verb::List, address, &finished));
    }
    // a name matches at the end of a reference, too: only whole ones count
    let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let lines = || finished.stdout.lines().filter_map(|line| line.split_once('\t'));
    if lines().any(|(id, _)| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let place = one_line(&address.masked(), 200);
        return Err(PortError::new(
            ErrorCode::Invalid,
            format!("{place}: its objects are not named by SHA-1"),
        ));
    }
    let known = |(id, name): (&str, &str)| {
        Some((name.to_owned(), Oid::from_str(id).ok().filter(|_| asked(name) && id.len() == 40)?))
    };
    Ok(lines().filter_map(known).collect())
}

/// Whether the boundary of a repository that is shallow is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shallow {
    /// It is, and the fetched history ends there.
    Taken,
    /// What needs it is refused.
    Refused,
}

/// Fetches one reference or commit to a reference of ours, with its whole
/// history and nothing else.
pub(crate) async fn fetch(
    git: &Git,
    address: &Address,
    what: &str,
    into: &str,
    shallow: Shallow,
) -> Result<(), PortError> {
    let mut options = vec![
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        "--no-write-fetch-head",
    ];
    if shallow == Shallow::Taken {
        options.push("--update-shallow");
    }
    let refspec = format!("+{what}:{into}");
    let finished = git.run(Verb::Fetch, &options, address, &[refspec], FETCH_LIMIT).await?;
    if finished.status.success() { Ok(()) } else { Err(failure(Verb::Fetch, address, &finished)) }
}

/// Pushes a commit to a branch. Never forces.
pub(crate) async fn push(
    git: &Git,
    address: &Address,
    commit: Oid,
    reference: &str,
) -> Result<(), PortError> {
    let options =
        ["--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no"];
    let refspec = format!("{commit}:{reference}");
    let finished = git.run(Verb::Push, &options, address, &[refspec], PUSH_LIMIT).await?;
    if finished.status.success() {
        return Ok(());
    }
    match finished.stdout.lines().find_map(|line| line.strip_prefix("!\t")) {
        Some(line) => Err(rejection(address, reference, line)),
        None => Err(failure(Verb::Push, address, &finished)),
    }
}

/// The remote has taken the call and refuses the reference.
fn rejection(address: &Address, reference: &str, line: &str) -> PortError {
    let reason = one_line(line.rsplit('\t').next().unwrap_or_default(), 300);
    if reason.starts_with("[remote rejected]") {
        let message = format!("{} refuses `{reference}`: {reason}", one_line(&address.masked(), 200));
        return PortError::new(ErrorCode::Denied, message);
    }
    taken(address, reference)
}

/// The branch is there with other commits.
pub(crate) fn taken(address: &Address, reference: &str) -> PortError {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    let place = one_line(&address.masked(), 200);
    let message =
        format!("the branch `{branch}` exists already at {place}, with other commits; hint: `--branch NAME`");
    PortError::new(ErrorCode::Conflict, message)
}

/// The branch itself, and the references whose existence would keep it from
/// being made: `refs/heads/a` where `refs/heads/a/b` is wanted.
pub(crate) fn obstacles(reference: &str) -> Vec<String> {
    let folders = reference.match_indices('/').map(|(end, _)| &reference[..end]);
    let mut names: Vec<String> =
        folders.filter(|name| name.len() > "refs/heads".len()).map(String::from).collect();
    names.push(reference.into());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_steers_git_is_refused() {
        for base in ["-x", "--upload-pack=date", "a b", "a:b", "+a:b", "a..b", "*", "refs/heads/*", "a^", ""]
        {
            assert!(Wanted::parse(Some(base)).is_err(), "{base:?}");
        }
    }

    #[test]
    fn a_base_is_a_branch_before_it_is_a_tag() {
        let id = Oid::from_bytes(&[1; 20]).expect("an id");
        let wanted = Wanted::parse(Some("v1")).expect("parses");
        let both = Advertised::from([("refs/tags/v1".into(), id), ("refs/heads/v1".into(), id)]);
        let address = Address::Local("/a".into());
        assert_eq!(wanted.choose(&both, &address).expect("found"), "refs/heads/v1");
        assert_eq!(
            wanted.choose(&Advertised::new(), &address).expect_err("missing").code,
            ErrorCode::NotFound
        );
    }

    #[test]
    fn folders_of_a_branch_are_in_its_way() {
        assert_eq!(obstacles("refs/heads/a/b/c"), ["refs/heads/a", "refs/heads/a/b", "refs/heads/a/b/c"]);
    }
}
