//! Output kept within a bound: its head and its tail.

use std::collections::VecDeque;

/// Bytes of which, beyond a bound, only the first and the last are kept.
#[derive(Clone, Debug)]
pub struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    total: u64,
}

impl Captured {
    /// Keeps at most `limit` bytes: half of them from the start, half from the end.
    pub fn new(limit: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), half: limit / 2, total: 0 }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// Bytes that came, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that were left out between head and tail.
    pub fn skipped(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The text, with a line that says so where bytes were left out. What is
    /// not UTF-8 appears as U+FFFD.
    pub fn text(&self) -> String {
        let (front, back) = self.tail.as_slices();
        if self.skipped() == 0 {
            return String::from_utf8_lossy(&[&self.head, front, back].concat()).into_owned();
        }
        let head = String::from_utf8_lossy(&self.head);
        let tail = [front, back].concat();
        // A character cut in two at the start of the tail is no loss worth a U+FFFD.
        let start = tail.iter().take(4).position(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
        format!(
            "{head}\n[{} bytes left out]\n{}",
            self.skipped() + start as u64,
            String::from_utf8_lossy(&tail[start..])
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, pieces: &[&str]) -> Captured {
        let mut captured = Captured::new(limit);
        pieces.iter().for_each(|piece| captured.push(piece.as_bytes()));
        captured
    }

    #[test]
    fn keeps_all_that_fits_in_whatever_pieces_it_comes() {
        for size in 1..8 {
            let mut captured = Captured::new(8);
            for piece in b"abcdefgh".chunks(size) {
                captured.push(piece);
            }
            assert_eq!(captured.text(), "abcdefgh");
        }
    }

    #[test]
    fn keeps_head_and_tail_and_counts_the_rest() {
        let captured = captured(4, &["ab", "cdefgh", "ij"]);
        assert_eq!(captured.text(), "ab\n[6 bytes left out]\nij");
        assert_eq!(captured.total(), 10);
    }

    #[test]
    fn one_piece_beyond_the_bound_is_cut() {
        assert_eq!(captured(4, &["abcdefghij"]).text(), "ab\n[6 bytes left out]\nij");
    }

    #[test]
    fn a_character_cut_in_two_at_the_tail_is_left_out() {
        assert_eq!(captured(6, &["abcdefgh€x"]).text(), "abc\n[8 bytes left out]\nx");
    }
}
