//! Server-sent events out of a stream of bytes, however it is cut.
//!
//! As the HTML standard has it: lines end in CR, LF or both; a byte order mark
//! at the start is ignored; bytes that are not UTF-8 become U+FFFD. One thing
//! differs: at the end of the stream the last event counts even if no empty
//! line follows, since servers forget it. What was cut off within is for the
//! reader to notice: half a JSON object is none.

use std::collections::VecDeque;

/// Longest line, and longest event, in bytes. The last event of the Responses
/// API repeats the whole reply.
pub(crate) const LONGEST_EVENT: usize = 16 << 20;

/// Longest stream, in bytes. Some APIs wrap each token into 250 bytes.
pub(crate) const LONGEST_STREAM: usize = 64 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; empty if none was given.
    pub(crate) name: String,
    /// Its data, lines joined by line feeds.
    pub(crate) data: String,
}

/// A bound was passed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooLarge {
    #[error("an event of the stream is longer than {LONGEST_EVENT} bytes")]
    Event,
    #[error("the stream is longer than {LONGEST_STREAM} bytes")]
    Stream,
}

/// Cuts bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    ready: VecDeque<Event>,
    received: usize,
    /// The last byte was a CR, whose LF may follow.
    after_return: bool,
    past_first_line: bool,
}

impl Decoder {
    /// Takes a piece of the stream in.
    ///
    /// # Errors
    /// If the stream, a line or an event is too long.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > LONGEST_STREAM {
            return Err(TooLarge::Stream);
        }
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.extend_line(bytes);
            };
            self.extend_line(&bytes[..end])?;
            self.end_line()?;
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Takes the end of the stream in.
    ///
    /// # Errors
    /// If the last event is too long.
    pub(crate) fn end(&mut self) -> Result<(), TooLarge> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.end_event();
        Ok(())
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + bytes.len() > LONGEST_EVENT {
            return Err(TooLarge::Event);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), TooLarge> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = bytes.as_slice();
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.extend_data(value)?,
            // a comment (an empty field), `id`, `retry`, or of a later time
            _ => {}
        }
        Ok(())
    }

    fn extend_data(&mut self, value: &str) -> Result<(), TooLarge> {
        let data = match &mut self.data {
            Some(data) => {
                data.push('\n');
                data
            }
            none => none.insert(String::new()),
        };
        if data.len() + value.len() > LONGEST_EVENT {
            return Err(TooLarge::Event);
        }
        data.push_str(value);
        Ok(())
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.push(piece).expect("is within bounds");
        }
        decoder.end().expect("is within bounds");
        std::iter::from_fn(|| decoder.next()).map(|event| (event.name, event.data)).collect()
    }

    const STREAM: &str = "\u{feff}: comment\r\nevent: greeting\r\ndata: größe\r\ndata:  two\r\n\r\n\
        id: 7\rretry: 1\rdata\r\r\
        event: lost\n\n\
        data: {\"a\":\"\u{1f980}\"}\nignored: x\n\ndata:[DONE]";

    fn expected() -> Vec<(String, String)> {
        [("greeting", "größe\n two"), ("", ""), ("", "{\"a\":\"\u{1f980}\"}"), ("", "[DONE]")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()))
            .to_vec()
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(decode([&bytes[..cut], &bytes[cut..]]), expected(), "cut at {cut}");
        }
        assert_eq!(decode(bytes.chunks(1)), expected());
    }

    #[test]
    fn bytes_that_are_not_utf8_do_not_end_the_stream() {
        assert_eq!(decode([&b"data: a\xffb\n\n"[..]]), [(String::new(), "a\u{fffd}b".to_owned())]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..64).find_map(|_| decoder.push(&piece).err());
        assert_eq!(refused, Some(TooLarge::Event));
    }

    #[test]
    fn an_event_of_many_lines_is_bounded_as_a_whole() {
        let mut decoder = Decoder::default();
        let line = format!("data: {}\n", "x".repeat(1 << 20));
        let refused = (0..40).find_map(|_| decoder.push(line.as_bytes()).err());
        assert_eq!(refused, Some(TooLarge::Event));
    }

    #[test]
    fn a_stream_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let comments = format!(":{}\n", "x".repeat(1 << 20));
        let refused = (0..80).find_map(|_| decoder.push(comments.as_bytes()).err());
        assert_eq!(refused, Some(TooLarge::Stream));
    }
}
