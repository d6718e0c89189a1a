//! Output that was read and not yet given out.

use std::collections::VecDeque;

use sortie_policy::ports::{Chunk, Ended};

use super::output::CHUNK;

/// What is held back while input is being written, and while nobody is attached, in bytes.
pub(super) const HELD: usize = 1 << 20;

/// What a piece costs besides its bytes: many small ones must not cost more than a few large.
const PIECE: usize = 64;

/// Pieces in order. What is missing was in front of them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Chunk>,
    cost: usize,
    skipped: u64,
}

impl Queue {
    /// The next piece; first, how much is missing before it.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        if self.skipped > 0 {
            return Some(Chunk::Skipped(std::mem::take(&mut self.skipped)));
        }
        let piece = self.pieces.pop_front()?;
        self.cost -= cost(&piece);
        Some(piece)
    }

    /// Adds output of the first or the second stream, to the last piece if it belongs there.
    pub(super) fn push(&mut self, stream: usize, mut bytes: Vec<u8>) {
        if let (0, Some(Chunk::Stdout(last))) | (1, Some(Chunk::Stderr(last))) =
            (stream, self.pieces.back_mut())
            && last.len() + bytes.len() <= CHUNK
        {
            self.cost += bytes.len();
            last.append(&mut bytes);
            return;
        }
        self.put(if stream == 0 { Chunk::Stdout(bytes) } else { Chunk::Stderr(bytes) });
    }

    /// Adds the end.
    pub(super) fn push_end(&mut self, ended: Ended) {
        self.put(Chunk::Exit(ended));
    }

    fn put(&mut self, piece: Chunk) {
        self.cost += cost(&piece);
        self.pieces.push_back(piece);
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.skipped == 0
    }

    /// Whether it holds as much as it should.
    pub(super) fn is_full(&self) -> bool {
        self.cost >= HELD
    }

    /// Lets the oldest give way to what is beyond the bound.
    pub(super) fn forget_oldest(&mut self) {
        while self.cost > HELD {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.cost -= cost(&piece);
            self.skipped += length(&piece) as u64;
        }
    }
}

fn cost(piece: &Chunk) -> usize {
    length(piece) + PIECE
}

fn length(piece: &Chunk) -> usize {
    match piece {
        Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => bytes.len(),
        Chunk::Skipped(_) | Chunk::Exit(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use sortie_policy::ports::Exit;

    use super::*;

    #[test]
    fn pieces_of_one_stream_are_put_together_up_to_the_size_of_one() {
        let mut queue = Queue::default();
        for _ in 0..CHUNK + 1 {
            queue.push(0, vec![b'x']);
        }
        queue.push(1, vec![b'y']);
        let sizes: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|piece| length(&piece)).collect();
        assert_eq!(sizes, [CHUNK, 1, 1]);
        assert_eq!(queue.cost, 0);
    }

    #[test]
    fn many_small_pieces_cost_no_more_than_a_few_large() {
        let mut queue = Queue::default();
        for _ in 0..HELD / 4 {
            queue.push(0, vec![b'x']);
            queue.push(1, vec![b'y']);
            queue.forget_oldest();
        }
        assert!(queue.pieces.len() <= HELD / PIECE, "{}", queue.pieces.len());
    }

    #[test]
    fn what_gave_way_is_told_first_and_the_end_stays() {
        let mut queue = Queue::default();
        for _ in 0..20 {
            queue.push(0, vec![b'x'; CHUNK]);
            queue.forget_oldest();
        }
        queue.push_end(Ended::of(Exit::Code(0)));
        queue.forget_oldest();
        let Some(Chunk::Skipped(skipped)) = queue.pop() else { panic!("something gave way") };
        let mut kept = 0;
        while let Some(Chunk::Stdout(bytes)) = queue.pop() {
            kept += bytes.len() as u64;
        }
        assert_eq!(kept + skipped, 20 * CHUNK as u64);
        assert!(kept <= HELD as u64 && kept >= (HELD - 2 * CHUNK) as u64, "{kept}");
        assert!(queue.is_empty());
    }
}
