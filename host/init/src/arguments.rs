//! What process 1 is started with.

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::process::Resource;

/// The arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Bytes that all processes together may hold.
    pub(crate) memory: Option<u64>,
    /// The socket of the host to call, instead of the one on descriptor 0.
    pub(crate) dial: Option<PathBuf>,
    /// The file of filters to put on.
    pub(crate) filter: Option<PathBuf>,
    /// Limits of each process, to be lowered to this.
    pub(crate) limits: Vec<(Resource, u64)>,
}

impl Arguments {
    /// Reads them. What is not understood is an error: a bound that is passed over would not be kept.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut read = Self::default();
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            let value = arguments.next().ok_or_else(|| format!("`{name}` lacks its value"))?;
            let number = || {
                let number = value.to_str().and_then(|value| value.parse().ok());
                number.ok_or_else(|| format!("`{name}` is a number"))
            };
            match name.as_str() {
                "--memory" => read.memory = Some(number()?),
                "--open-files" => read.limits.push((Resource::Nofile, number()?)),
                "--file-size" => read.limits.push((Resource::Fsize, number()?)),
                "--core-size" => read.limits.push((Resource::Core, number()?)),
                "--dial" => read.dial = Some(value.into()),
                "--filter" => read.filter = Some(value.into()),
                _ => return Err(format!("no argument `{name}`")),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn each_argument_has_a_value() {
        let all = parse(&["--dial", "/a", "--memory", "7", "--filter", "/b", "--open-files", "9"]);
        let limits = vec![(Resource::Nofile, 9)];
        let (dial, filter) = (Some("/a".into()), Some("/b".into()));
        assert_eq!(all, Ok(Arguments { memory: Some(7), dial, filter, limits }));
        assert_eq!(parse(&[]), Ok(Arguments::default()));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for wrong in [&["--memory"][..], &["--memory", "much"], &["--other", "1"], &["7"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
