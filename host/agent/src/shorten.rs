//! Tool output, cut to what a model should read.

/// Characters of a tool's output that the model sees by default.
pub const DEFAULT_SHOWN: usize = 10_000;

/// Most characters of a tool's output that the model can be shown at once.
pub(crate) const MOST_SHOWN: usize = 30_000;

/// What is left of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// Head and tail, with the gap marked between them.
    pub text: String,
    /// Characters that were cut.
    pub cut: usize,
}

/// Cuts the middle out of a text of more than `shown` characters. A third of
/// what stays is head, the rest tail: errors and summaries come last.
pub fn shorten(text: &str, shown: usize) -> Shortened {
    let total = text.chars().count();
    if total <= shown {
        return Shortened { text: text.to_owned(), cut: 0 };
    }
    let head = text.char_indices().nth(shown / 3).map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().nth(total - (shown - shown / 3)).map_or(text.len(), |(at, _)| at);
    let cut = total - shown;
    let text = format!("{}\n[… {cut} characters cut …]\n{}", &text[..head], &text[tail..]);
    Shortened { text, cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_as_it_is() {
        assert_eq!(shorten("añb", 3), Shortened { text: "añb".into(), cut: 0 });
    }

    #[test]
    fn a_long_text_keeps_head_and_tail_and_says_what_was_cut() {
        let text: String = ('a'..='z').collect::<String>() + "ñ";
        let short = shorten(&text, 6);
        assert_eq!(short.cut, 21);
        assert_eq!(short.text, "ab\n[… 21 characters cut …]\nxyzñ");
    }
}
