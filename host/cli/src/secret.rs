//! Secrets of an environment, from where the operator's settings say.

use std::fs::File;
use std::io::Read as _;

use sortie_core::secret::Secret;
use sortie_environment::SecretSource;

use crate::exit::Failure;

/// Bytes of a secret.
const MOST: u64 = 64 << 10;

/// Reads a secret, without a line break at its end.
///
/// # Errors
/// If it is not there, empty, no UTF-8, or longer than 64 KiB. What it holds
/// is in no message.
pub(crate) fn read(name: &str, source: &SecretSource) -> anyhow::Result<Secret> {
    let failed = |reason: String| Failure::usage(format!("the secret `{name}` cannot be had: {reason}"));
    let value = match source {
        SecretSource::Variable(variable) => std::env::var(variable).map_err(|error| match error {
            std::env::VarError::NotPresent => failed(format!("the variable `{variable}` is not set")),
            std::env::VarError::NotUnicode(_) => failed(format!("the variable `{variable}` is not UTF-8")),
        })?,
        SecretSource::File(path) => {
            // what is none may never end, or not begin
            let is_file =
                std::fs::metadata(path).map_err(|error| failed(format!("`{path}`: {error}")))?.is_file();
            if !is_file {
                return Err(failed(format!("`{path}` is no file")));
            }
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
            read.map_err(|error| failed(format!("`{path}`: {error}")))?;
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned()
        }
    };
    if value.is_empty() || value.contains('\0') {
        return Err(failed("it is empty, or holds a zero byte".into()));
    }
    if value.len() as u64 > MOST {
        return Err(failed("it is longer than 64 KiB".into()));
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_without_its_last_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let source = SecretSource::File(path.display().to_string());
        std::fs::write(&path, "a\nb\r\n").expect("is written");
        assert_eq!(read("T", &source).expect("is read").expose(), "a\nb");
        std::fs::write(&path, "").expect("is written");
        let error = read("T", &source).expect_err("it is empty").to_string();
        assert!(error.starts_with("the secret `T` cannot be had"), "{error}");
        std::fs::write(&path, "a\0b").expect("is written");
        let error = read("T", &source).expect_err("no variable holds it").to_string();
        assert!(error.ends_with("holds a zero byte") && !error.contains('\0'), "{error}");
        std::fs::write(&path, "x".repeat(65 << 10)).expect("is written");
        let error = read("T", &source).expect_err("it is too long").to_string();
        assert!(error.ends_with("longer than 64 KiB") && !error.contains("xx"), "{error}");
        std::fs::remove_file(&path).expect("is removed");
        assert!(read("T", &source).is_err());
    }

    #[test]
    fn a_secret_is_not_waited_for_at_a_pipe() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).expect("is made");
        let (sender, receiver) = std::sync::mpsc::channel();
        let source = SecretSource::File(path.display().to_string());
        std::thread::spawn(move || sender.send(read("T", &source).expect_err("it is none").to_string()));
        let error = receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("it ends");
        assert!(error.ends_with("is no file"), "{error}");
    }
}
