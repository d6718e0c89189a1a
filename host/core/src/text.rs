//! Text from outside, made safe to print and to bound.

use std::borrow::Cow;

/// The text cut at `max` bytes on a character boundary, with `…` if it was cut.
pub fn clip(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Removes what would steer a terminal: escape sequences (ECMA-48 CSI, OSC
/// and the other string sequences), and control characters except line feed
/// and tab. Bidirectional overrides (U+202A to U+202E, U+2066 to U+2069) go
/// too: they make a command read as another one. Line ends stay as they are,
/// `\r\n` included.
pub fn strip_escapes(text: &str) -> String {
    // most texts have nothing to remove, and each tool result comes by here; without a branch in it the
    // loop is vectorised
    let plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\n' | b'\t'));
    if plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.peek() {
                Some('[') => {
                    chars.next();
                    skip_control_sequence(&mut chars);
                }
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string_sequence(&mut chars),
                Some(' '..='~') => {
                    chars.next();
                }
                _ => {}
            },
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string_sequence(&mut chars),
            '\n' | '\t' => out.push(c),
            // alone it would return to the line's beginning and overwrite it
            '\r' if chars.peek() == Some(&'\n') => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Ends where the sequence does, or where it is none: what cannot be a part of
/// it stays.
fn skip_control_sequence(chars: &mut std::iter::Peekable<impl Iterator<Item = char>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// Bounded: a sequence that nobody ends must not swallow the rest of a log.
fn skip_string_sequence(chars: &mut std::iter::Peekable<impl Iterator<Item = char>>) {
    for _ in 0..4096 {
        match chars.next() {
            None | Some('\u{7}' | '\u{9c}' | '\n') => return,
            Some('\u{1b}') if chars.peek() == Some(&'\\') => {
                chars.next();
                return;
            }
            Some(_) => {}
        }
    }
}

/// One line for a list or a log: escapes removed, line breaks as spaces, cut
/// at `max` bytes.
pub fn one_line(text: &str, max: usize) -> String {
    let flat = strip_escapes(text).split_whitespace().collect::<Vec<_>>().join(" ");
    clip(&flat, max).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_removed_and_text_stays() {
        assert_eq!(strip_escapes("a\u{1b}[31mred\u{1b}[0m b"), "ared b");
        assert_eq!(strip_escapes("x\u{1b}]0;title\u{7}y"), "xy");
        assert_eq!(strip_escapes("x\u{1b}]8;;http://a\u{1b}\\y\r\n\tz\u{8}\rw"), "xy\r\n\tzw");
        assert_eq!(strip_escapes("rm \u{202e}txt"), "rm txt");
    }

    #[test]
    fn an_unended_sequence_does_not_swallow_what_follows_its_line() {
        assert_eq!(strip_escapes("\u{1b}]0;evil\nnext"), "next");
        assert_eq!(strip_escapes("\u{1b}[31\nзло\nnext"), "\nзло\nnext");
        assert_eq!(strip_escapes("\u{9b}1;\u{1b}[31mx"), "x");
    }

    #[test]
    fn a_clip_keeps_characters_whole() {
        assert_eq!(clip("añb", 2), "a…");
        assert_eq!(clip("ab", 2), "ab");
    }
}
