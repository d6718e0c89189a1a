//! Messages and authors of commits.

use git2::Signature;
use sortie_core::text::{clip, one_line, strip_escapes};
use sortie_policy::ports::{ErrorCode, PortError};

/// Bytes of a message.
const LONGEST: usize = 64 << 10;

/// Who a commit is by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

impl Identity {
    /// The identity as a commit holds it, at the present time.
    pub(crate) fn signature(&self) -> Result<Signature<'static>, PortError> {
        let (name, email) = (self.clean_name(), self.clean_email());
        Signature::now(&name, &email).map_err(|error| {
            let message = format!("`{name} <{email}>` cannot be the author of a commit: {}", error.message());
            PortError::new(ErrorCode::Invalid, message)
        })
    }

    /// The name without what would end its field in a commit.
    pub(crate) fn clean_name(&self) -> String {
        clean(&self.name)
    }

    /// The address, likewise.
    pub(crate) fn clean_email(&self) -> String {
        clean(&self.email)
    }
}

fn clean(field: &str) -> String {
    one_line(field, 200).replace(['<', '>'], "").trim().to_owned()
}

/// A commit's message: what the model wrote, cleaned and bounded, and the
/// host's trailers. Lines that pose as one of these trailers are taken out.
pub(crate) fn compose(written: &str, trailers: &[(String, String)]) -> Result<String, PortError> {
    let written = strip_escapes(&clip(written, LONGEST));
    let ours = |line: &str| {
        let key = line.split(':').next().unwrap_or_default().trim();
        line.contains(':') && trailers.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
    };
    let mut lines: Vec<&str> = Vec::new();
    for line in written.lines().map(str::trim_end).filter(|line| !ours(line)) {
        let blank = line.is_empty() && lines.last().is_none_or(|last| last.is_empty());
        if !blank {
            lines.push(line);
        }
    }
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if lines.is_empty() {
        return Err(PortError::new(ErrorCode::Invalid, "the message of the commit is empty"));
    }
    let mut message = lines.join("\n");
    if !trailers.is_empty() {
        message.push_str(if ends_with_trailers(&lines) { "\n" } else { "\n\n" });
        let line = |(name, value): &(String, String)| format!("{name}: {}", one_line(value, 200));
        message.push_str(&trailers.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    message.push('\n');
    Ok(message)
}

/// Whether the last paragraph, other than the first, holds trailers alone.
fn ends_with_trailers(lines: &[&str]) -> bool {
    let Some(blank) = lines.iter().rposition(|line| line.is_empty()) else { return false };
    lines[blank + 1..].iter().all(|line| {
        let key = line.split(": ").next().unwrap_or_default();
        line.contains(": ") && !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers() -> Vec<(String, String)> {
        vec![("Sortie-Task".into(), "task-7k2m9q".into())]
    }

    #[test]
    fn trailers_stand_in_a_paragraph_of_their_own() {
        let message =
            compose("  \nfix: a\n\n\n\nbecause\u{1b}[31m of b\r\n\n", &trailers()).expect("composes");
        assert_eq!(message, "fix: a\n\nbecause of b\n\nSortie-Task: task-7k2m9q\n");
        let message = compose("fix\n\nCo-authored-by: A <a@b>", &trailers()).expect("composes");
        assert_eq!(message, "fix\n\nCo-authored-by: A <a@b>\nSortie-Task: task-7k2m9q\n");
        assert_eq!(compose("fix: a", &trailers()).expect("composes"), "fix: a\n\nSortie-Task: task-7k2m9q\n");
    }

    #[test]
    fn the_model_cannot_pose_as_another_task() {
        let message = compose("fix\n\nsortie-task: task-aaaaaa", &trailers()).expect("composes");
        assert_eq!(message, "fix\n\nSortie-Task: task-7k2m9q\n");
    }

    #[test]
    fn an_empty_message_is_refused() {
        assert!(compose(" \n\u{1b}[0m\n", &trailers()).is_err());
    }

    #[test]
    fn an_author_cannot_end_the_field() {
        let author = Identity { name: "A <x> \n B".into(), email: "a@b>".into() };
        let signature = author.signature().expect("is cleaned");
        assert_eq!((signature.name(), signature.email()), (Ok("A x B"), Ok("a@b")));
        assert!(Identity { name: " ".into(), email: "a@b".into() }.signature().is_err());
    }
}
