//! A piece of a long text, and how to get the next one.

/// The piece of `max` characters from `start` on, and a line that says how to
/// go on, if there is more. Characters, because that is what the model counts.
///
/// # Errors
/// With how long the text is, if it ends before `start`.
pub(crate) fn page(text: &str, start: usize, max: usize) -> Result<(String, Option<String>), String> {
    let total = text.chars().count();
    if start > 0 && start >= total {
        return Err(format!("the content has {total} characters; start is {start}"));
    }
    let from = text.char_indices().nth(start).map_or(text.len(), |(at, _)| at);
    let rest = &text[from..];
    let Some((to, _)) = rest.char_indices().nth(max) else { return Ok((rest.to_owned(), None)) };
    // A cut at the end of a line reads better, if it costs less than a fifth.
    let to = rest[..to].rfind('\n').map(|line| line + 1).filter(|line| *line > to - to / 5).unwrap_or(to);
    let end = start + rest[..to].chars().count();
    let more =
        format!("[characters {start} to {end} of {total}; call again with start = {end} for the next]");
    Ok((rest[..to].to_owned(), Some(more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_together_are_the_whole() {
        let text: String = (0..500).map(|n| format!("línea {n}\n")).collect();
        let (mut start, mut whole) = (0, String::new());
        loop {
            let (piece, more) = page(&text, start, 97).expect("start is within");
            assert!(piece.chars().count() <= 97 && !piece.is_empty());
            start += piece.chars().count();
            whole.push_str(&piece);
            match more {
                Some(more) => assert!(more.contains(&format!("start = {start} "))),
                None => break,
            }
        }
        assert_eq!(whole, text);
    }

    #[test]
    fn a_start_beyond_the_end_says_where_the_end_is() {
        assert_eq!(page("añb", 3, 10), Err("the content has 3 characters; start is 3".to_owned()));
        assert_eq!(page("", 0, 10), Ok((String::new(), None)));
    }
}
