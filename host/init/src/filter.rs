//! The filters of system calls that process 1 puts on itself, where nobody has done so before it started: in a
//! container, whose engine knows only its own.
//!
//! The host compiles them; the file holds for each its number of instructions and then these, as the kernel reads
//! them, all in the machine's own byte order.

use std::io;
use std::path::Path;

/// The most instructions of one filter, the kernel's own bound (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
/// Bytes of an instruction.
const LENGTH: usize = 8;

/// One instruction, as `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the kernel's")]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Writes filters down, for [`restrict`].
pub fn encode(filters: impl Iterator<Item = Vec<Instruction>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for filter in filters {
        let count = u32::try_from(filter.len()).expect("a filter has at most 4096 instructions");
        bytes.extend(count.to_ne_bytes());
        for Instruction { code, jt, jf, k } in filter {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([jt, jf]);
            bytes.extend(k.to_ne_bytes());
        }
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Vec<libc::sock_filter>>> {
    let mut filters = Vec::new();
    while let Some((count, rest)) = bytes.split_first_chunk() {
        let count =
            usize::try_from(u32::from_ne_bytes(*count)).ok().filter(|count| *count <= MAX_INSTRUCTIONS)?;
        let (filter, rest) = rest.split_at_checked(count * LENGTH)?;
        filters.push(filter.chunks_exact(LENGTH).map(instruction).collect());
        bytes = rest;
    }
    bytes.is_empty().then_some(filters)
}

fn instruction(bytes: &[u8]) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// Puts the filters of a file on this process and all that it starts, for good, and gives up every way to gain
/// privileges by running a program.
pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    let filters = decode(&std::fs::read(path)?)
        .filter(|filters| !filters.is_empty())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file of filters is damaged"))?;
    rustix::thread::set_no_new_privs(true)?;
    filters.iter().try_for_each(|filter| install(filter))
}

fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let length = filter.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    #[expect(unsafe_code, reason = "rustix has no seccomp")]
    // SAFETY: the kernel reads `length` instructions from `filter`, which outlives the call, and writes nothing.
    let status = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_they_were_written() {
        let line = |k| Instruction { code: 6, jt: 1, jf: 2, k };
        let bytes = encode([vec![line(1), line(u32::MAX)], vec![line(3)]].into_iter());
        let read = decode(&bytes).expect("it is whole");
        let numbers: Vec<Vec<_>> =
            read.iter().map(|filter| filter.iter().map(|line| line.k).collect()).collect();
        assert_eq!(numbers, [vec![1, u32::MAX], vec![3]]);
        assert_eq!((read[0][0].code, read[0][0].jt, read[0][0].jf), (6, 1, 2));
    }

    #[test]
    fn a_damaged_file_is_none() {
        let bytes = encode([vec![Instruction { code: 6, jt: 0, jf: 0, k: 0 }]].into_iter());
        for end in 1..bytes.len() {
            assert!(decode(&bytes[..end]).is_none(), "{end}");
        }
        assert!(decode(&u32::MAX.to_ne_bytes()).is_none());
    }
}
