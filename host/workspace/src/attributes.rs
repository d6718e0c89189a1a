//! Extended attributes, which hold what somebody hostile put into them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{flistxattr, getxattr, listxattr};
use rustix::io::Errno;

/// Bytes of one value, and of all names together: the kernel has no more.
const MOST: usize = 64 << 10;

/// Reads attributes, one at a time.
pub(crate) struct Attributes {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Attributes {
    pub(crate) fn new() -> Self {
        Self { names: vec![0; MOST], value: vec![0; MOST] }
    }

    /// Whether a name or a value is one that is wanted. What they are of may be open for its path alone, as links,
    /// fifos and devices have to be.
    ///
    /// # Errors
    /// If they cannot be read: then nobody knows what they hold.
    pub(crate) fn any(&mut self, of: impl AsFd, wanted: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        // a descriptor that was opened for its path alone takes no other way
        let place = || format!("/proc/self/fd/{}", of.as_fd().as_raw_fd());
        let listed = match flistxattr(&of, &mut self.names[..]) {
            Err(Errno::BADF) => listxattr(place(), &mut self.names[..]),
            listed => listed,
        };
        let count = match listed {
            // this file system has none
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(false),
            count => count?,
        };
        let place = place();
        for name in self.names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let count = match getxattr(&place, name, &mut self.value[..]) {
                // somebody on the host removes it meanwhile
                Err(Errno::NODATA) => continue,
                count => count?,
            };
            if wanted(name) || wanted(&self.value[..count]) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
