//! Sending and receiving bytes together with open descriptors over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that one message carries.
pub const MAX_DESCRIPTORS: usize = 4;

/// Sends `bytes` with `descriptors` attached and returns how many bytes went.
///
/// On a `SOCK_SEQPACKET` socket the message goes whole or not at all. Errors: `INVAL` for more than
/// [`MAX_DESCRIPTORS`], and what `sendmsg` answers (`AGAIN` when the socket does not block and is full).
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    // The buffer is rounded up, so it alone would let one more through.
    let fits = descriptors.len() <= MAX_DESCRIPTORS;
    if !fits || !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
    })
}

/// As [`receive`], but without waiting unless it is to `wait`: `AGAIN` if there is nothing.
pub fn receive_now(socket: impl AsFd, buffer: &mut [u8], wait: bool) -> Result<(usize, Vec<OwnedFd>)> {
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    receive_with(socket, buffer, flags)
}

/// Receives into `buffer`: the count of bytes (0 at the end) and the descriptors, closed on exec.
///
/// Errors: `MSGSIZE` when bytes or descriptors did not fit (what came is closed), and what `recvmsg` answers.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    receive_with(socket, buffer, RecvFlags::CMSG_CLOEXEC)
}

fn receive_with(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((message.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("socket pairs can be made")
    }

    #[test]
    fn a_descriptor_arrives_with_its_bytes_and_is_closed_on_exec() {
        let (here, there) = pair();
        let (reader, writer) = std::io::pipe().expect("pipes can be made");
        assert_eq!(send(&here, b"hello", &[writer.as_fd()]), Ok(5));
        let mut buffer = [0; 8];
        let (count, descriptors) = receive(&there, &mut buffer).expect("it was sent");
        assert_eq!((&buffer[..count], descriptors.len()), (&b"hello"[..], 1));
        let flags = rustix::io::fcntl_getfd(&descriptors[0]).expect("it is open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop((reader, writer));
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_as_a_whole() {
        let (here, there) = pair();
        send(&here, b"longer than four", &[here.as_fd()]).expect("the socket is empty");
        assert!(matches!(receive(&there, &mut [0; 4]), Err(Errno::MSGSIZE)));
    }

    #[test]
    fn five_descriptors_are_too_many() {
        let (here, _there) = pair();
        assert_eq!(send(&here, b"x", &[here.as_fd(); 5]), Err(Errno::INVAL));
    }
}
