//! What to run: the first frame on a command's channel.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// The longest spec in bytes. The kernel takes about as much for arguments and environment together.
pub const MAX_SPEC: usize = 2 << 20;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A command as init starts it: no shell, no environment but this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute, as the workspace sees it.
    pub cwd: PathBuf,
    /// Time until the command and all that it started are killed, in whole milliseconds; zero for no limit.
    pub timeout: Duration,
    /// A terminal of this size in place of the three streams.
    pub terminal: Option<Window>,
}

impl Spec {
    /// The frame's bytes: its length, then its body. None if the body is longer than [`MAX_SPEC`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 4];
        let milliseconds = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        frame.extend(milliseconds.to_le_bytes());
        let window = self.terminal.unwrap_or(Window { rows: 0, columns: 0 });
        frame.push(self.terminal.is_some().into());
        frame.extend(window.rows.to_le_bytes());
        frame.extend(window.columns.to_le_bytes());
        put(&mut frame, self.cwd.as_os_str().as_bytes());
        put_count(&mut frame, self.argv.len());
        for argument in &self.argv {
            put(&mut frame, argument.as_bytes());
        }
        put_count(&mut frame, self.env.len());
        for (name, value) in &self.env {
            put(&mut frame, name.as_bytes());
            put(&mut frame, value.as_bytes());
        }
        let body = frame.len() - 4;
        let length = u32::try_from(body).ok().filter(|_| body <= MAX_SPEC)?;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        Some(frame)
    }

    /// Reads a frame's body; none if it is malformed, has no program, or has bytes left over.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = Rest(body);
        let timeout = Duration::from_millis(u64::from_le_bytes(rest.take()?));
        let [terminal] = rest.take()?;
        let window =
            Window { rows: u16::from_le_bytes(rest.take()?), columns: u16::from_le_bytes(rest.take()?) };
        let cwd = PathBuf::from(rest.string()?);
        let argv: Vec<OsString> = rest.list(Rest::string)?;
        let env = rest.list(|rest| Some((rest.string()?, rest.string()?)))?;
        let terminal = (terminal == 1).then_some(window);
        (rest.0.is_empty() && !argv.is_empty()).then_some(Self { argv, env, cwd, timeout, terminal })
    }
}

fn put_count(frame: &mut Vec<u8>, count: usize) {
    // A count that does not fit comes with a body over the limit, which is refused as a whole.
    frame.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put(frame: &mut Vec<u8>, bytes: &[u8]) {
    put_count(frame, bytes.len());
    frame.extend(bytes);
}

/// What is left to read of a body.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn count(&mut self) -> Option<usize> {
        u32::from_le_bytes(self.take()?).try_into().ok()
    }

    fn string(&mut self) -> Option<OsString> {
        let length = self.count()?;
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(OsString::from_vec(head.to_vec()))
    }

    /// Stops at the first item that is not there, so a wrong count costs no more than the bytes that came.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Spec {
        Spec {
            argv: vec!["sh".into(), "-c".into(), OsString::from_vec(vec![0xff, 0xfe])],
            env: vec![("PATH".into(), "/usr/bin".into()), ("EMPTY".into(), "".into())],
            cwd: "/workspace".into(),
            timeout: Duration::from_millis(1500),
            terminal: Some(Window { rows: 24, columns: 80 }),
        }
    }

    #[test]
    fn a_spec_survives_the_wire() {
        let frame = example().encode().expect("it is short");
        assert_eq!(u32::from_le_bytes(frame[..4].try_into().expect("four bytes")) as usize, frame.len() - 4);
        assert_eq!(Spec::decode(&frame[4..]), Some(example()));
    }

    #[test]
    fn a_spec_cut_at_any_byte_or_with_one_more_is_refused() {
        let frame = example().encode().expect("it is short");
        for end in 4..frame.len() {
            assert_eq!(Spec::decode(&frame[4..end]), None, "cut at {end}");
        }
        let longer = [&frame[4..], b"x"].concat();
        assert_eq!(Spec::decode(&longer), None);
    }

    #[test]
    fn a_spec_without_a_program_is_refused() {
        let empty = Spec { argv: vec![], ..example() };
        assert_eq!(Spec::decode(&empty.encode().expect("it is short")[4..]), None);
    }

    #[test]
    fn a_count_beyond_the_body_is_refused_without_room_for_it() {
        let mut body = vec![0; 8 + 1 + 4];
        body.extend(0u32.to_le_bytes());
        body.extend(u32::MAX.to_le_bytes());
        assert_eq!(Spec::decode(&body), None);
    }

    #[test]
    fn a_spec_over_the_limit_is_not_sent() {
        let long = Spec { argv: vec![OsString::from("x".repeat(MAX_SPEC))], ..example() };
        assert_eq!(long.encode(), None);
    }
}
