//! pytest: its JUnit report, which no output of a test can reach.

use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::report::Parsed;

/// Elements nested deeper than this are no JUnit report.
const MAX_DEPTH: usize = 64;

/// Reads a JUnit report. None if it is not one, or is cut off.
pub(crate) fn parse(xml: &str) -> Option<Parsed> {
    let mut reader = Reader::from_str(xml);
    let mut state = State::default();
    let mut depth = 0_usize;
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
                state.open(&element);
            }
            Event::Empty(element) => {
                state.open(&element);
                state.close(element.name().as_ref());
            }
            Event::End(element) => {
                depth = depth.checked_sub(1)?;
                state.close(element.name().as_ref());
            }
            Event::Text(text) => state.text(&text),
            Event::CData(text) => state.text(&text),
            Event::GeneralRef(reference) => {
                let entity = format!("&{};", &*reference);
                state.text(&unescape(&entity).unwrap_or_default());
            }
            Event::Eof => return (depth == 0 && state.parsed.found).then_some(state.parsed),
            _ => {}
        }
    }
}

#[derive(Default)]
struct State {
    parsed: Parsed,
    /// The test case that is open.
    name: String,
    skipped: bool,
    /// The failure whose text is being read.
    message: Option<String>,
    failures: Vec<String>,
    /// The test of the last failure.
    last_failed: Option<String>,
}

impl State {
    fn open(&mut self, element: &BytesStart<'_>) {
        match element.name().as_ref() {
            "testsuite" => self.parsed.found = true,
            "testcase" => {
                let (class, name) = (attribute(element, "classname"), attribute(element, "name"));
                self.name = if class.is_empty() { name } else { format!("{class}.{name}") };
                self.skipped = false;
                self.failures.clear();
            }
            "skipped" => self.skipped = true,
            "failure" | "error" => self.message = Some(attribute(element, "message")),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(message) = &mut self.message {
            message.push_str(text);
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "failure" | "error" => self.failures.extend(self.message.take()),
            "testcase" => {
                // A test whose tear-down failed too comes as two cases in a row.
                let again = self.last_failed.as_ref() == Some(&self.name);
                match (self.failures.is_empty(), self.skipped) {
                    (false, _) if again => {}
                    (false, _) => {
                        self.parsed.add_failure(&self.name, &self.failures.join("\n\n"));
                        self.last_failed = Some(self.name.clone());
                    }
                    (true, true) => self.parsed.counts.skipped += 1,
                    (true, false) => self.parsed.counts.passed += 1,
                }
                self.failures.clear();
            }
            _ => {}
        }
    }
}

/// The value of an attribute; empty if there is none.
fn attribute(element: &BytesStart<'_>, name: &str) -> String {
    let value = element.try_get_attribute(name).ok().flatten();
    let value = value.map(|attribute| attribute.value.into_owned());
    let value = value.unwrap_or_default();
    unescape(&value).map_or_else(|_| value.clone(), |text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;

    #[test]
    fn each_test_counts_once_whatever_of_it_failed() {
        let parsed = parse(include_str!("../../tests/fixtures/pytest.xml")).expect("a report");
        assert_eq!(parsed.counts, Counts { passed: 4, failed: 6, skipped: 2 });
        let names: Vec<_> = parsed.failures.iter().map(|f| f.name.as_str()).collect();
        let expected = ["test_broken", "test_p.test_bad", "test_p.test_error", "test_p.test_both"];
        assert_eq!(names[..4], expected);
        assert!(parsed.failures[1].message.contains("no & <tag>"), "{parsed:?}");
    }

    #[test]
    fn what_is_cut_off_or_no_report_is_none() {
        let xml = include_str!("../../tests/fixtures/pytest.xml");
        assert!(parse(&xml[..xml.len() - 20]).is_none());
        assert!(parse("").is_none());
        assert!(parse("<html></html>").is_none());
        assert!(parse(&"<testsuite>".repeat(100_000)).is_none());
        assert!(parse("<testsuite></other></testsuite>").is_none());
    }

    #[test]
    fn entities_of_the_documents_own_are_not_expanded() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\
            <testsuite><testcase name=\"t\"><failure message=\"m\">&b;&lt;</failure></testcase></testsuite>";
        let parsed = parse(bomb).expect("a report");
        assert_eq!(parsed.failures[0].message, "m<");
    }
}
