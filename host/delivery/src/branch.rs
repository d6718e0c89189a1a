//! Names of branches.

use sortie_core::TaskId;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

/// Bytes of a slug.
const SLUG: usize = 40;

/// The branch for a task: `sortie/<slug>-<id>`, the slug from the first words
/// of the prompt, ASCII letters and digits only.
///
/// ```
/// let id = "task-7k2m9q".parse()?;
/// assert_eq!(sortie_delivery::branch_name("Add pagination, please!", &id), "sortie/add-pagination-please-7k2m9q");
/// # Ok::<(), sortie_core::id::InvalidTaskId>(())
/// ```
pub fn branch_name(prompt: &str, id: &TaskId) -> String {
    let words = prompt.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = String::new();
    for word in words {
        let room = SLUG.saturating_sub(slug.len() + usize::from(!slug.is_empty()));
        if word.len() > room && !slug.is_empty() {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word[..word.len().min(room)].to_ascii_lowercase());
    }
    let slug = if slug.is_empty() { "task" } else { &slug };
    format!("sortie/{slug}-{}", id.short())
}

/// Checks a branch's name, given without `refs/heads/`.
///
/// # Errors
/// `Invalid` if Git would not take it, if it looks like an option, or beyond
/// 200 bytes.
pub fn check_branch_name(name: &str) -> Result<(), PortError> {
    let refused = |why: &str| {
        let message = format!("`{}` is no name for a branch: {why}", one_line(name, 80));
        Err(PortError::new(ErrorCode::Invalid, message))
    };
    if name.len() > 200 {
        return refused("it is longer than 200 bytes");
    }
    if name.starts_with('-') {
        return refused("it starts with `-`");
    }
    if name == "HEAD" || name.starts_with("refs/") {
        return refused("it is given without `refs/heads/`, and `HEAD` is taken");
    }
    if !git2::Reference::is_valid_name(&format!("refs/heads/{name}")) {
        return refused("see `git help check-ref-format`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TaskId {
        "task-7k2m9q".parse().expect("an id")
    }

    #[test]
    fn every_prompt_gives_a_name_that_git_takes() {
        let long = "x".repeat(500);
        for prompt in
            ["", "../../etc/passwd", "-rf /", "größe ändern", "a.lock", "\u{1b}[31m\n", "@{-1}", &long]
        {
            let name = branch_name(prompt, &id());
            check_branch_name(&name).expect(&name);
            assert!(name.len() <= "sortie/".len() + SLUG + 7, "{name}");
        }
        assert_eq!(branch_name("ß", &id()), "sortie/task-7k2m9q");
    }

    #[test]
    fn a_slug_ends_with_a_whole_word() {
        let name = branch_name("repair the pagination of the list of all customers", &id());
        assert_eq!(name, "sortie/repair-the-pagination-of-the-list-of-all-7k2m9q");
    }

    #[test]
    fn names_that_steer_git_are_refused() {
        for name in [
            "-d",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a:b",
            "HEAD",
            "refs/heads/x",
            "a.lock",
            "a\n",
            "",
            "/a",
            "a~1",
        ] {
            assert!(check_branch_name(name).is_err(), "{name:?}");
        }
    }
}
