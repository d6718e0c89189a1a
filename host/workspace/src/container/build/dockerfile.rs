//! What a Dockerfile would have the engine fetch by itself.
//!
//! The steps of a build have no network but the proxy. Three instructions work in the engine, on the host's network:
//! `FROM` and `COPY --from`, whose images we have it pull beforehand if they may be, and `ADD` of an address, which could
//! name anything that the host reaches; so that is refused, in the file and in what the images it starts from make it do.
//!
//! That holds only as long as we see the instructions that the builder sees. Where its versions read a file differently
//! (which of them this engine has, nobody tells), or where we do not follow them, the file is refused.

use std::collections::BTreeMap;

use sortie_core::text::one_line;

/// The image of nothing.
const SCRATCH: &str = "scratch";

/// The instructions, each in one line: its word in capitals, and the rest.
#[derive(Debug)]
pub(super) struct Dockerfile {
    instructions: Vec<(String, String)>,
}

impl Dockerfile {
    /// Reads a file as the engine's builder does: comments are left out, and lines that end in the sign for it go on in
    /// the next.
    ///
    /// # Errors
    /// If not every builder would find the same instructions.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let escape = escape(text)?;
        let mut instructions = Vec::new();
        let mut open: Option<String> = None;
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.contains('\r') {
                return Err(ambiguous(line, "has a carriage return that does not end it"));
            }
            let bare = line.trim_start();
            // an empty line, or a comment, does not end a line that goes on
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            let line = if open.is_some() { line } else { bare };
            let end = line.trim_end_matches([' ', '\t']);
            let (part, goes_on) = match end.strip_suffix(escape) {
                Some(part) if part.ends_with(escape) => {
                    return Err(ambiguous(line, "ends in the sign for a line that goes on, twice"));
                }
                Some(part) => (part, true),
                None => (line, false),
            };
            let whole = open.take().unwrap_or_default() + part;
            if goes_on {
                open = Some(whole);
            } else {
                instructions.extend(instruction(&whole));
            }
        }
        instructions.extend(open.as_deref().and_then(instruction));
        let odd = instructions.iter().find(|(word, _)| !word.is_ascii());
        if let Some((word, _)) = odd {
            return Err(format!("`{}` is no instruction", one_line(word, 100)));
        }
        match instructions.iter().find(|(_, rest)| rest.split_whitespace().any(begins_document)) {
            Some((word, rest)) => {
                Err(ambiguous(&format!("{word} {rest}"), "has a here-document, which is BuildKit's"))
            }
            None => Ok(Self { instructions }),
        }
    }

    /// Says which instruction has the engine fetch an address, if one has.
    pub(super) fn check(&self) -> Result<(), String> {
        self.instructions.iter().try_for_each(|(word, rest)| check(word, rest))
    }

    /// What of it a builder goes through to make a stage: all up to that one, whether it is needed or not.
    ///
    /// # Errors
    /// If no stage is called so, or two are.
    pub(super) fn up_to(mut self, target: Option<&str>) -> Result<Self, String> {
        let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(self) };
        let begins: Vec<(usize, bool)> = (self.instructions.iter().enumerate())
            .filter(|(_, (word, _))| word == "FROM")
            .map(|(at, (_, rest))| Ok((at, stage_of(rest)?.eq_ignore_ascii_case(target))))
            .collect::<Result<_, String>>()?;
        let mut found =
            begins.iter().enumerate().filter(|(_, (_, is_target))| *is_target).map(|(stage, _)| stage);
        let target = one_line(target, 100);
        let stage = found.next().ok_or_else(|| format!("it has no stage `{target}`"))?;
        if found.next().is_some() {
            return Err(format!("two of its stages are called `{target}`"));
        }
        if let Some((next, _)) = begins.get(stage + 1) {
            self.instructions.truncate(*next);
        }
        Ok(self)
    }

    /// The images that it starts from or copies out of, by name, each once. `given` are arguments that stand in the place
    /// of the file's own.
    ///
    /// # Errors
    /// If it is not certain which they are.
    pub(super) fn images(&self, given: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
        let mut arguments = BTreeMap::new();
        let mut stages: Vec<String> = Vec::new();
        let mut images = Vec::new();
        for (word, rest) in &self.instructions {
            match word.as_str() {
                // those between stages do not count for FROM
                "ARG" if stages.is_empty() => {
                    for argument in rest.split_whitespace() {
                        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
                        let value = given.get(name).map_or(value, String::as_str);
                        arguments.insert(name.to_owned(), unquoted(value).to_owned());
                    }
                }
                "FROM" => {
                    let (_, bare) = flags(word, rest)?;
                    let named = bare.split_whitespace().next().unwrap_or_default();
                    let image = expanded(named, &arguments).ok_or_else(|| {
                        format!("`FROM {}`: the name is not understood", one_line(named, 200))
                    })?;
                    if !is_stage(&stages, &image) && image != SCRATCH && !images.contains(&image) {
                        images.push(image);
                    }
                    stages.push(stage_of(rest)?);
                }
                "COPY" => {
                    let Some(image) = copied_from(rest)? else { continue };
                    // a stage knows those before it, by name or number, and not itself
                    let before = &stages[..stages.len().saturating_sub(1)];
                    let is_number = image.parse::<i64>().is_ok();
                    if !is_stage(before, &image) && !is_number && !images.contains(&image) {
                        images.push(image);
                    }
                }
                _ => {}
            }
        }
        if stages.is_empty() {
            return Err("it has no FROM".to_owned());
        }
        Ok(images)
    }
}

fn is_stage(stages: &[String], name: &str) -> bool {
    stages.iter().any(|stage| stage.eq_ignore_ascii_case(name))
}

/// `FROM image AS name`; a stage without a name has one that nothing can be called by.
fn stage_of(rest: &str) -> Result<String, String> {
    let (_, bare) = flags("FROM", rest)?;
    Ok(bare.split_whitespace().nth(2).unwrap_or_default().to_owned())
}

/// What an instruction begins with, `--NAME` or `--NAME=VALUE` each, and the rest.
fn flags<'a>(word: &str, rest: &'a str) -> Result<(Vec<&'a str>, &'a str), String> {
    let mut rest = rest.trim_start();
    let mut flags = Vec::new();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        // a builder takes quotes and signs for escaping out, wherever they stand, and what they hold together
        if !flag.is_ascii() || flag.contains(['"', '\'', '\\', '`']) {
            let shown = one_line(flag, 200);
            return Err(format!("`{word} {shown}`: a flag is written in plain letters, without quotes"));
        }
        flags.push(flag);
        rest = after.trim_start();
    }
    Ok((flags, rest))
}

/// What `COPY` copies out of, if it is not the context: a stage or an image.
fn copied_from(rest: &str) -> Result<Option<String>, String> {
    let (flags, _) = flags("COPY", rest)?;
    let mut from = flags.iter().filter_map(|flag| {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        name.eq_ignore_ascii_case("--from").then_some(value)
    });
    let Some(image) = from.next() else { return Ok(None) };
    // a builder takes signs of variables as they stand, or for variables, by its age
    if from.next().is_some() || image.is_empty() || image.contains('$') {
        return Err(format!("`COPY --from={}`: the name is not understood", one_line(image, 200)));
    }
    Ok(Some(image.to_owned()))
}

/// The same for an instruction that images keep for those that start from them, which is read as a file is. It has
/// stages of its own, which are not known here.
pub(super) fn check_trigger(text: &str) -> Result<(), String> {
    let trigger = Dockerfile::parse(text)?;
    for (word, rest) in &trigger.instructions {
        if word == "ONBUILD" {
            return Err("`ONBUILD ONBUILD` is for no builder".to_owned());
        }
        check(word, rest)?;
        if word == "COPY" && copied_from(rest)?.is_some() {
            return Err(format!("`ONBUILD COPY {}` is not followed", one_line(rest, 200)));
        }
    }
    Ok(())
}

fn instruction(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (!word.is_empty()).then(|| (word.to_ascii_uppercase(), rest.trim().to_owned()))
}

fn check(word: &str, rest: &str) -> Result<(), String> {
    match word {
        "ONBUILD" => check_trigger(rest),
        "ADD" => {
            // an address has one of the first two; the others could put one together
            match rest.contains(':') || rest.contains("//") || rest.contains(['$', '\\', '`', '\'']) {
                true => Err(format!(
                    "`ADD {}`: ADD takes plain paths alone, for the engine would fetch an address from the host's own \
                     network\nhint: COPY for paths, and RUN with curl or the like, which goes through the proxy, for \
                     addresses",
                    one_line(rest, 200)
                )),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The sign that lets a line go on, which a directive may name. Before it there may be others, of which all builders
/// know `syntax`; anything else makes a comment of what comes after it, to some builders or to all.
fn escape(text: &str) -> Result<char, String> {
    let mut only_syntax = true;
    for line in text.lines().take_while(|line| line.trim_start().starts_with('#')) {
        let (name, value) = line.trim_start()[1..].split_once('=').unwrap_or_default();
        if name.trim().eq_ignore_ascii_case("escape") && !matches!(value.trim(), "" | "\\") {
            let plain = line.starts_with('#') && line.chars().all(|c| c == ' ' || !c.is_whitespace());
            return match only_syntax && plain && value.trim() == "`" {
                true => Ok('`'),
                false => Err(ambiguous(line, "has to be the first line, and to name ` or \\")),
            };
        }
        only_syntax &= name.trim_start_matches(' ').trim_end_matches(' ').eq_ignore_ascii_case("syntax");
    }
    Ok('\\')
}

/// Whether a word is what newer builders take the following lines for the text of.
fn begins_document(word: &str) -> bool {
    let bare = word.trim_start_matches(|c: char| c.is_ascii_digit());
    bare.strip_prefix("<<").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('<'))
}

fn ambiguous(line: &str, what: &str) -> String {
    format!("`{}` {what}", one_line(line, 200))
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// `$NAME`, `${NAME}` and `${NAME:-value}` replaced; none if anything else stands there.
fn expanded(text: &str, arguments: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = unquoted(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, default, left) = match after.strip_prefix('{') {
            Some(braced) => {
                let (inner, left) = braced.split_once('}')?;
                let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
                (name, default, left)
            }
            None => {
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                (&after[..end], "", &after[end..])
            }
        };
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        out.push_str(
            arguments.get(name).map(String::as_str).filter(|value| !value.is_empty()).unwrap_or(default),
        );
        rest = left;
    }
    out.push_str(rest);
    (!out.is_empty() && !out.contains(['$', '"', '\'', '\\'])).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str, given: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Dockerfile::parse(text)?.images(&given)
    }

    fn names(names: &[&str]) -> Result<Vec<String>, String> {
        Ok(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn images_are_copied_out_of_as_well_and_stages_before_are_none() {
        let text = "FROM a AS one\nCOPY --from=b:1 /x /y\nCOPY x --from=c\nCOPY --chown=$U:1 --from=d /x /y\n\
                    COPY --from=one /x /y\nFROM e AS two\nCOPY --from=ONE /x /y\nCOPY --from=0 /x /y\n\
                    COPY --from=7 /x /y\ncopy \\\n --from=f@sha256:00 [\"x\", \"/y\"]\nCOPY --From=g /x /y\n\
                    COPY --from=two /x /y\nCOPY --from=99999999999999999999 /x /y\n";
        let found = ["a", "b:1", "d", "one", "e", "f@sha256:00", "g", "two", "99999999999999999999"];
        assert_eq!(images(text, &[]), names(&found));
        for hidden in [
            "--from=$X",
            "--from=${X}",
            "--f\"rom\"=x",
            "--from='x'",
            "--fr\\om=x",
            "--chown=\"a b\" --from=x",
            "--chown=a\u{a0}--from=x\u{e9}",
            "--from=x --from=y",
            "--from=",
            "--from x",
        ] {
            let text = format!("# escape=`\nFROM a\nCOPY {hidden} /x /y\n");
            assert!(images(&text, &[]).is_err(), "{hidden}");
        }
        assert!(images("FROM --platform=\"x b c\" a", &[]).is_err());
    }

    #[test]
    fn only_stages_up_to_the_target_count() {
        let text = "ARG A=a\nFROM $A AS one\nFROM b AS Two\nCOPY --from=c /x /y\nFROM d\nADD http://a /b\nFROM e AS one\n";
        let of = |target| Dockerfile::parse(text).expect("it is read").up_to(Some(target));
        let two = of("two").expect("there is one");
        assert_eq!(two.images(&BTreeMap::new()), names(&["a", "b", "c"]));
        assert_eq!(two.check(), Ok(()));
        assert_eq!(of("none").expect_err("there is none"), "it has no stage `none`");
        assert!(of("one").is_err(), "builders may take the one or the other");
        assert!(of("").expect("all of it").check().is_err());
    }

    #[test]
    fn images_are_those_of_from_and_no_stages() {
        let text = "# syntax=any\nARG TAG=1 BASE=\"a\"\n  from --platform=x ${BASE}:$TAG AS build\nARG TAG=2\n\
                    FROM build as two\nFROM scratch\nFROM b@sha256:00\nfrom BUILD\nFROM ${NONE:-c}:${TAG}";
        assert_eq!(images(text, &[]), Ok(vec!["a:1".into(), "b@sha256:00".into(), "c:1".into()]));
        assert_eq!(images(text, &[("TAG", "7"), ("NOT", "8")]).expect("they are named")[0], "a:7");
        for wrong in ["", "RUN x", "FROM ${A:+b}", "FROM $", "FROM ${A", "FROM a\\b", "FROM", "FROM ${NONE}"]
        {
            assert!(images(wrong, &[]).is_err(), "{wrong}");
        }
    }

    fn checked(text: &str) -> Result<(), String> {
        Dockerfile::parse(text)?.check()
    }

    #[test]
    fn a_file_that_builders_read_differently_is_refused() {
        for hidden in [
            // a directive that is none to the builder, or to some
            "# a comment\n# escape=`\nFROM a\nAD\\\nD http://a /b",
            "# check=skip=all\n# escape=`\nAD\\\nD http://a /b",
            "#\tescape=`\nAD\\\nD http://a /b",
            "#\u{a0}escape=`\nAD\\\nD http://a /b",
            " # escape=`\nAD\\\nD http://a /b",
            "# escape=x\nAD\\\nD http://a /b",
            // the same to whoever passes over them
            "# a comment\n# escape=`\nFROM a\nAD`\nD http://a /b",
            "# check=skip=all\n# escape=`\nAD`\nD http://a /b",
            "#\tescape=`\nAD`\nD http://a /b",
            "#\u{a0}escape=`\nAD`\nD http://a /b",
            " # escape=`\nAD`\nD http://a /b",
            // two signs go on in the next line to old builders, and do not to new ones
            "RUN echo \\\\\nADD http://a /b",
            "AD\\\\ \nD http://a /b",
            "RUN x\\\r\r\nADD http://a /b",
            "RUN x\rADD http://a /b",
            // what ends a here-document ends a line as well
            "RUN <<'X\\'\nX\\\nADD http://a /b",
            "COPY 3<<-EOF /x\nEOF\nADD a /b",
            // in lower case, this is an i
            "FROM a AS b\nONBU\u{130}LD ADD http://a /b\nFROM b",
        ] {
            assert!(checked(hidden).is_err(), "{hidden}");
        }
        for plain in [
            "# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b",
            "# a comment\n# escape=\\\nRUN a \\\n b",
            "FROM a\n# escape=`\nRUN a \\\n b",
            "RUN echo $((1<<2)) && cat <<<word && printf 'a << b'",
            "RUN a\r\nRUN b\r\n",
        ] {
            assert_eq!(checked(plain), Ok(()), "{plain}");
        }
    }

    #[test]
    fn nothing_that_could_be_an_address_is_added_however_it_is_written() {
        for fetched in [
            "ADD http://a/b /c",
            "add https://a /b",
            "FROM a\nADD \\\nhttp://a /b",
            "FROM a\nA\\\nDD http://a /b",
            "FROM a\nAD\\  \nD http:\\\n//a /b",
            "ADD $URL /b",
            "ADD ${URL} /b",
            "ADD h\"t\"tp://a /b",
            "ADD 'http'://a /b",
            "ADD [\"http://a\", \"/b\"]",
            "ADD [\"\\u0068ttp\\u003a//a\", \"/b\"]",
            "ADD git@a:b /c",
            "ONBUILD ADD http://a /b",
            "onbuild  add\thttp://a /b",
            "ONBUILD COPY --from=a /b /c",
            &"ONBUILD ".repeat(100_000),
            "# escape=`\nADD `\nhttp://a /b",
            "#escape = `\nFROM a\nRUN x\\\nADD http://a /b",
            "RUN x \\\n# a comment\n\n y\nADD http://a /b",
            "RUN x\r\nADD http://a /b\r\n",
        ] {
            assert!(checked(fetched).is_err(), "{fetched}");
        }
        for plain in [
            "ADD a b.tar.gz /c/",
            "ADD --chown=1 [\"a b\", \"/c\"]",
            "ONBUILD COPY a /b",
            "COPY --from=a http /b",
            "RUN apk \\\n add http://a $X",
            "# ADD http://a /b",
            "RUN x\\\nADD http://a /b",
            "LABEL a=\"ADD http://a\"",
        ] {
            assert_eq!(checked(plain), Ok(()), "{plain}");
        }
        for fetched in
            ["ADD http://a /b", "AD\\\nD http://a /b", "RUN x\nADD http://a /b", "COPY --from=a /b /c"]
        {
            assert!(check_trigger(fetched).is_err(), "{fetched}");
        }
        assert!(check_trigger("RUN x").is_ok() && check_trigger("COPY a /b").is_ok());
    }
}
