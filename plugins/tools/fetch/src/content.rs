//! What kind of body a server sent, and its text.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far into a page its `<meta charset>` is looked for, in bytes, as the
/// HTML standard has it.
const META_REACH: usize = 1024;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTML, to be made readable.
    Html,
    /// Text of another kind, shown as it is.
    Text,
    /// Not text.
    Binary,
}

/// What a body is, by its declared type or, without one, by its looks.
pub(crate) fn kind(content_type: Option<&str>, body: &[u8]) -> Kind {
    const TEXT: [&str; 12] = [
        "json",
        "xml",
        "javascript",
        "ecmascript",
        "x-javascript",
        "yaml",
        "x-yaml",
        "toml",
        "x-sh",
        "sql",
        "graphql",
        "x-ndjson",
    ];
    let essence =
        content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.split_once('/') {
        Some(("text", "html")) | Some(("application", "xhtml+xml")) => Kind::Html,
        Some(("text", _)) => Kind::Text,
        Some(("application" | "image" | "model", subtype)) => {
            let suffix = subtype.rsplit('+').next().unwrap_or(subtype);
            if TEXT.contains(&subtype) || (subtype.contains('+') && ["json", "xml", "yaml"].contains(&suffix))
            {
                Kind::Text
            } else if subtype == "octet-stream" {
                looks_like(body)
            } else {
                Kind::Binary
            }
        }
        Some(_) => Kind::Binary,
        None => looks_like(body),
    }
}

fn looks_like(body: &[u8]) -> Kind {
    let start = &body[..body.len().min(512)];
    let text = String::from_utf8_lossy(start).trim_start().to_ascii_lowercase();
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.starts_with(tag)) {
        return Kind::Html;
    }
    // What is cut off in the middle of a character is still text.
    let valid = match std::str::from_utf8(body) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    if valid && !start.contains(&0) { Kind::Text } else { Kind::Binary }
}

/// The body as text: by its byte order mark, the declared charset, the page's
/// own `<meta>`, or else UTF-8, or Windows-1252 where it is no UTF-8.
pub(crate) fn decode(content_type: Option<&str>, kind: Kind, body: &[u8]) -> String {
    let declared = content_type.and_then(charset);
    let declared = declared.or_else(|| (kind == Kind::Html).then(|| meta_charset(body)).flatten());
    let fallback = match std::str::from_utf8(body) {
        Ok(_) => UTF_8,
        // Cut off in the middle of a character, and not the first one.
        Err(error) if error.error_len().is_none() && !body[..error.valid_up_to()].is_ascii() => UTF_8,
        Err(_) => WINDOWS_1252,
    };
    declared.unwrap_or(fallback).decode(body).0.into_owned()
}

/// `text/html; charset="iso-8859-1"`.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| label(value)).flatten()
    })
}

/// `<meta charset=…>` or `<meta http-equiv=… content="…; charset=…">`.
fn meta_charset(body: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&body[..body.len().min(META_REACH)]).to_ascii_lowercase();
    start.split("<meta").skip(1).find_map(|tag| {
        let tag = tag.split('>').next()?;
        let (_, value) = tag.split_once("charset")?;
        let value = value.trim_start().strip_prefix('=')?;
        let found = label(value)?;
        // A page that says this of itself in ASCII cannot be UTF-16.
        Some(if found.is_ascii_compatible() { found } else { UTF_8 })
    })
}

fn label(value: &str) -> Option<&'static Encoding> {
    let value = value.trim().trim_start_matches(['"', '\'']);
    let end = value.find(['"', '\'', ';', ' ', '/']).unwrap_or(value.len());
    Encoding::for_label(&value.as_bytes()[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_type_and_without_one_by_looks() {
        let cases: [(Option<&str>, &[u8], Kind); 14] = [
            (Some("text/html; charset=utf-8"), b"", Kind::Html),
            (Some("Application/XHTML+XML"), b"", Kind::Html),
            (Some("text/markdown"), b"", Kind::Text),
            (Some("application/json"), b"", Kind::Text),
            (Some("application/ld+json"), b"", Kind::Text),
            (Some("image/svg+xml"), b"", Kind::Text),
            (Some("application/octet-stream"), b"plain", Kind::Text),
            (Some("application/octet-stream"), b"\x7fELF\0\0", Kind::Binary),
            (Some("image/png"), b"plain", Kind::Binary),
            (Some("application/zip"), b"plain", Kind::Binary),
            (Some("font/woff2"), b"", Kind::Binary),
            (None, b"  <!DOCTYPE HTML><p>", Kind::Html),
            (None, b"caf\xc3", Kind::Text),
            (None, b"\xff\xd8\xff\xe0", Kind::Binary),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(kind(content_type, body), expected, "{content_type:?} {body:?}");
        }
    }

    #[test]
    fn text_is_decoded_by_mark_header_meta_or_looks() {
        let cases: [(Option<&str>, &[u8], &str); 8] = [
            (Some("text/plain; charset=iso-8859-1"), b"caf\xe9", "café"),
            (Some("text/plain; charset=\"shift_jis\""), b"\x83\x65", "テ"),
            (Some("text/plain; charset=nonsense"), b"caf\xc3\xa9", "café"),
            (Some("text/plain; charset=iso-8859-1"), b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
            (Some("text/html"), b"<meta charset=windows-1251>\xcf", "<meta charset=windows-1251>П"),
            (None, b"caf\xe9", "café"),
            (None, b"caf\xc3\xa9", "café"),
            (None, b"\xff\xfeh\0i\0", "hi"),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(decode(content_type, Kind::Html, body), expected, "{content_type:?}");
        }
        let meta = b"<meta http-equiv=Content-Type content=\"text/html; charset=koi8-r\">\xf0";
        assert!(decode(None, Kind::Html, meta).ends_with('П'));
    }
}
