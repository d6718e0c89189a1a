//! Values that must not be shown.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Values of fewer bytes than this are not looked for: they would be found in
/// ordinary text.
const SHORTEST: usize = 4;

/// Lines of a value of several lines that are masked where they stand alone:
/// shorter ones would be found in ordinary text.
const SHORTEST_LINE: usize = 12;

/// The least that the longest line of a value of several lines holds to be
/// looked for alone, whatever it says.
const TELLING_LINE: usize = 32;

/// The least that a line in a block of base64 holds to be looked for alone,
/// and how many letters and digits in a row, some of both, make any other line
/// of a value of several lines worth it. What such files have in common
/// (`[default]`, `"type": "service_account"`, `https://HOST/oauth2/auth`) has
/// none so long; and of random ones, no eight are among as many bytes as a
/// set-up may write: there are 2 * 10^14.
const TELLING_WORD: usize = 8;

/// What names blocks between dashes that are no secret, though they may stand
/// beside one: the certificate of an authority is on every machine.
const PUBLIC: [&str; 3] = ["CERTIFICATE", "PUBLIC", "PARAMETERS"];

/// The least that is left of a form, as the kernel has it in a path, to be
/// looked for: less is found by chance.
const SHORTEST_PATH: usize = 8;

/// Characters of base64 that are looked for alone: who breaks it into lines
/// puts 64 of them into each, or more.
const PIECE: usize = 32;

/// A value whose `Display` and `Debug` mask it. It is neither serialised nor
/// compared; `expose` stands where the value leaves for its one purpose.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text with every occurrence of the value masked: as it is, in
    /// base64 and URL-encoded, as a path that was made of one of these, and
    /// each longer line of it alone. Values of fewer than 4 bytes are not
    /// looked for.
    pub fn scrub(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        let forms = self.forms();
        let lines = self.0.lines().filter(|line| !forms.is_empty() && line.len() >= SHORTEST_LINE);
        let paths: Vec<_> = forms.iter().filter_map(|form| as_path(form.as_bytes())).collect();
        let paths = paths.iter().filter_map(|path| std::str::from_utf8(path).ok());
        for form in forms.iter().map(String::as_str).chain(paths).chain(lines) {
            if masked.contains(form) {
                masked = masked.replace(form, "****");
            }
        }
        masked
    }

    /// The forms in which a value is found in a text: as it is, as JSON has
    /// it, in base64 wherever in a longer value it begins, also where that is
    /// broken into lines, and URL-encoded; of several lines also each that is
    /// not in other files of its kind. Those of most bytes come first. White space around the value does not
    /// count. None for values of fewer than 4 bytes.
    pub fn forms(&self) -> Vec<String> {
        // programs leave it out, and then the rest is the secret still
        let value = self.0.trim();
        if value.len() < SHORTEST {
            return Vec::new();
        }
        let mut forms = BTreeSet::from([value.to_owned(), json(value)]);
        for form in (0..3).flat_map(|before| base64_forms(value.as_bytes(), before)) {
            if form.len() >= 2 * PIECE {
                // a line ends in one of the two at most
                forms.extend([form[..PIECE].to_owned(), form[PIECE..2 * PIECE].to_owned()]);
            }
            forms.insert(form);
        }
        for hexadecimal in ["0123456789ABCDEF", "0123456789abcdef"] {
            let encoded = url_encoded(value, hexadecimal.as_bytes());
            forms.insert(encoded.replace("%20", "+"));
            forms.insert(encoded);
        }
        forms.extend(telling_lines(value).into_iter().flat_map(|line| [line.to_owned(), json(line)]));
        let mut forms: Vec<_> = forms.into_iter().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms
    }
}

/// A form of a value as it is in a path that was made of it, if that is
/// something else: the kernel takes several slashes for one, and leaves out `.`
/// and what is at the ends. None for less than what is found by chance.
pub fn as_path(form: &[u8]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> =
        form.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    let path = names.join(&b'/');
    (path.len() >= SHORTEST_PATH && path != form && !names.contains(&&b".."[..])).then_some(path)
}

/// The lines that tell of this value alone: neither what stands around blocks
/// of base64, nor their first lines, which say what kind of key follows and may
/// be the same for all of that kind, nor what is public.
fn telling_lines(value: &str) -> Vec<&str> {
    let (mut first, mut longest, mut telling) = ("", "", Vec::new());
    let (mut block, mut is_first) = (None, false);
    let mut lines = value.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if let Some(label) = boundary(line) {
            is_first = label.starts_with("BEGIN");
            block = is_first.then_some(label);
            continue;
        }
        // one that is all there is of the block has the key in it
        let begins_alike = is_first && lines.peek().is_some_and(|next| boundary(next).is_none());
        is_first = false;
        if block.is_some_and(|label| PUBLIC.iter().any(|public| label.contains(public))) {
            continue;
        }
        let is_base64 = block.is_some() && line.len() >= TELLING_WORD && !line.contains([' ', ':']);
        if begins_alike {
            first = line;
            continue;
        }
        if is_base64 || has_telling_word(line) {
            telling.push(line);
        }
        if line.len() > longest.len() {
            longest = line;
        }
    }
    // better than nothing
    let longest = if telling.is_empty() && longest.len() < TELLING_LINE { first } else { longest };
    telling.extend(Some(longest).filter(|line| line.len() >= TELLING_LINE));
    telling
}

/// What `-----BEGIN …-----` and the like say.
fn boundary(line: &str) -> Option<&str> {
    line.strip_prefix("-----")?.strip_suffix("-----")
}

fn has_telling_word(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() >= TELLING_WORD && digits > 0 && digits < word.len()
    })
}

/// As a JSON string holds it.
fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// What base64 has of a value alone when `before` bytes stand before it, as
/// both alphabets write it. The characters at its ends depend on what stands
/// around it.
fn base64_forms(value: &[u8], before: usize) -> Vec<String> {
    let padded = [&[0; 2][..before], value].concat();
    // of 6 bits each; one that begins in another byte is another's as well
    let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    [STANDARD_NO_PAD, URL_SAFE_NO_PAD]
        .iter()
        .map(|engine| engine.encode(&padded)[first..end].to_owned())
        .filter(|form| form.len() >= SHORTEST)
        .collect()
}

/// All but letters, digits and `-._~`, by RFC 3986.
fn url_encoded(value: &str, hexadecimal: &[u8]) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let digit = |digit: u8| char::from(hexadecimal[usize::from(digit)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere_but_where_it_is_exposed() {
        let key = Secret::new("sk-12345");
        assert_eq!(format!("{key} {key:?}"), "**** Secret(****)");
        assert_eq!(key.scrub("bad key sk-12345."), "bad key ****.");
        assert_eq!(Secret::new("abc").scrub("abc"), "abc", "too short to be told from a word");
    }

    #[test]
    fn a_secret_is_masked_in_base64_wherever_it_begins_and_url_encoded() {
        let key = Secret::new("p\u{e4}ss/word+1 ?");
        for before in ["", "a", "ab", "user:", "user: "] {
            for after in ["", "b", "xyz"] {
                let text = format!("{before}{}{after}", key.expose());
                for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let masked = key.scrub(&encoded);
                    assert!(masked.contains("****"), "{text}: {masked}");
                }
            }
        }
        assert_eq!(key.scrub("?q=p%C3%A4ss%2Fword%2B1%20%3F"), "?q=****");
        assert_eq!(key.scrub("?q=p%c3%a4ss%2fword%2b1+%3f"), "?q=****");
    }

    #[test]
    fn a_secret_is_masked_in_a_path_that_was_made_of_it() {
        let url = Secret::new("https://user:pass@host.example//simple/");
        assert_eq!(url.scrub("in ~/https:/user:pass@host.example/simple/x"), "in ~/****/x");
        assert_eq!(Secret::new("//e/").scrub("the end"), "the end", "too short to be told from a word");
    }

    #[test]
    fn a_secret_is_found_without_the_white_space_around_it_and_as_json_has_it() {
        let key = Secret::new("sk\"1\\2\n");
        assert_eq!(key.scrub("x = 'sk\"1\\2'"), "x = '****'");
        assert_eq!(key.scrub(&serde_json::json!({ "x": key.expose() }).to_string()), "{\"x\":\"****\\n\"}");
        assert_eq!(Secret::new("  abc\n").forms(), Vec::<String>::new(), "nor does it make a value longer");
    }

    #[test]
    fn a_secret_is_found_in_base64_that_is_broken_into_lines() {
        let key: String = (0..93_u32).map(|n| char::from_u32(33 + n * 7 % 90).expect("a letter")).collect();
        let forms = Secret::new(&key).forms();
        for before in 0..120 {
            let encoded = STANDARD_NO_PAD.encode(format!("{}{key}", "x".repeat(before)));
            for columns in [64, 76] {
                let lines: Vec<_> = encoded.as_bytes().chunks(columns).map(String::from_utf8_lossy).collect();
                let text = lines.join("\n");
                assert!(forms.iter().any(|form| text.contains(form)), "{before} before, {columns} columns");
            }
        }
    }

    #[test]
    fn the_longest_line_of_a_secret_tells_it_where_the_others_are_elsewhere() {
        let telling = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
        let key = Secret::new(format!("-----BEGIN KEY-----\n{telling}\nabc\n-----END KEY-----\n"));
        let found = |text: &str| key.forms().iter().any(|form| text.contains(form));
        assert!(found(&format!("key: |\n  -----BEGIN KEY-----\n  {telling}\n  abc\n")));
        assert!(!found("-----BEGIN KEY-----\nanother\n"));
    }

    #[test]
    fn each_line_of_a_secret_is_found_that_is_in_no_other_file_of_its_kind() {
        let found =
            |secret: &str, text: &str| Secret::new(secret).forms().iter().any(|form| text.contains(form));
        let alike = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        let (second, third) = ("QyNTUxOQAAACBx7rkHwLmkvqkkSx6GH9vHkPL1v3wzXx", "AAECAwQFBgcICQ==");
        let public = "MIIFazCCA1OgAwIBAgIRAIIQz7DSQONZRGPgu2OCiwAwDQYJKoZIhvcNAQELBQAwTzEL";
        let block =
            |name: &str, lines: &str| format!("-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n");
        let key = block("OPENSSH PRIVATE KEY", &[alike, second, third].join("\n"));
        let key = format!("{key}{}", block("CERTIFICATE", &[public, public, public].join("\n")));
        assert!(found(&key, &format!("x: {second}\n")) && found(&key, &format!("  {third}\n")));
        assert!(!found(&key, &block("OPENSSH PRIVATE KEY", alike)), "all such keys have it");
        assert!(!found(&key, &block("CERTIFICATE", public)), "it is no secret");
        assert!(found(&block("PRIVATE KEY", second), second), "it is all there is");
        let account = "{\n  \"type\": \"service_account\",\n  \"key_id\": \"91ab27f00c3d4e\",\n  \
                       \"token_uri\": \"https://oauth2.example.org/oauth2/v1/token\",\n  \
                       \"key\": \"-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\\n\"\n}\n";
        assert!(found(account, "\"key_id\": \"91ab27f00c3d4e\","));
        assert!(
            found(account, "{\"text\": \"  \\\"key_id\\\": \\\"91ab27f00c3d4e\\\",\"}"),
            "in JSON within JSON"
        );
        let other = "{\n  \"type\": \"service_account\",\n  \"key_id\": \"another\",\n  \
                     \"token_uri\": \"https://oauth2.example.org/oauth2/v1/token\",\n}\n";
        assert!(!found(account, other), "another account's");
        let netrc = "machine one.example\nlogin me\npassword hunter22abc\n";
        assert!(found(netrc, "machine two.example\npassword hunter22abc\n"));
        assert!(!found(netrc, "machine one.example\nlogin me\npassword other\n"));
    }

    #[test]
    fn the_lines_of_a_secret_are_masked_one_by_one() {
        let key = Secret::new("-----BEGIN KEY-----\nMIIEvQIBADANBg\nabc\n");
        assert_eq!(key.scrub("  MIIEvQIBADANBg"), "  ****");
        assert_eq!(key.scrub("abc"), "abc");
    }
}
