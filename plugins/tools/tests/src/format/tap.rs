//! The Test Anything Protocol: node's own runner, tape, tap, and ava on request.
//!
//! Where the producer writes its numbers at the end (`# pass 3`), they are
//! taken. Otherwise the test points are counted, those of subtests instead of
//! the point that sums them up.

use crate::report::{Counts, Parsed};
use crate::text::tail;

/// Subtests nested deeper than this are taken as text.
const MAX_DEPTH: usize = 32;

/// Reads TAP of any version, several documents included.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line);
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    parsed: Parsed,
    /// Numbers counted in this document, by the depth of their points.
    points: Vec<Counts>,
    /// Numbers that the producer gave at the end of this document.
    told: Told,
    /// `# Subtest: name`, by depth.
    names: Vec<String>,
    /// The failure whose YAML block may follow.
    pending: Option<(String, Vec<String>)>,
    /// How far the YAML block that is open is indented.
    yaml: Option<usize>,
    /// How many points of depth 0 the plan announced, and how many there were.
    plan: Option<u64>,
    seen: u64,
}

#[derive(Default)]
struct Told {
    tests: Option<u64>,
    passed: Option<u64>,
    failed: u64,
    cancelled: u64,
    skipped: u64,
    todo: u64,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let body = line.trim_start_matches(' ');
        let indent = line.len() - body.len();
        let depth = indent / 4;
        match self.yaml {
            Some(yaml) if indent >= yaml || body.is_empty() => return self.yaml(body),
            // A block that is never closed must not hide what follows it.
            Some(_) => self.yaml = None,
            None => {}
        }
        if body == "---" && self.pending.is_some() {
            self.yaml = Some(indent);
        } else if depth < MAX_DEPTH && (body.starts_with("ok") || body.starts_with("not ok")) {
            self.point(body, depth);
        } else if let Some(name) = body.strip_prefix("# Subtest: ") {
            self.names.truncate(depth);
            self.names.resize(depth, String::new());
            self.names.push(name.to_owned());
        } else if line.starts_with("TAP version ") {
            self.end_document();
        } else if let Some(comment) = line.strip_prefix("# ") {
            self.told.read(comment);
        } else if let Some(plan) = line.strip_prefix("1..") {
            self.plan = plan.split_whitespace().next().and_then(|last| last.parse().ok());
            self.parsed.found |= self.plan.is_some();
        } else if let Some(reason) = line.strip_prefix("Bail out!") {
            self.parsed.add_failure("run", &format!("bailed out: {}", reason.trim()));
        }
    }

    fn yaml(&mut self, body: &str) {
        if body == "..." {
            self.yaml = None;
            self.end_failure();
        } else if let Some((_, lines)) = &mut self.pending
            && lines.len() < 60
        {
            lines.push(body.to_owned());
        }
    }

    fn point(&mut self, body: &str, depth: usize) {
        let Some((passed, name, directive)) = point(body) else { return };
        self.end_failure();
        self.parsed.found = true;
        self.seen += u64::from(depth == 0);
        // Points below this one are its subtests: it sums them up.
        let is_parent = self.points.len() > depth + 1;
        let below = self.points.drain((depth + 1).min(self.points.len())..).fold(Counts::default(), add);
        self.points.resize(depth + 1, Counts::default());
        let counts = &mut self.points[depth];
        counts.add(below);
        if is_parent && (below.failed > 0 || passed) {
            return;
        }
        match (passed, directive) {
            (_, Directive::Skip | Directive::Todo) => counts.skipped += 1,
            (true, Directive::None) => counts.passed += 1,
            (false, Directive::None) => {
                counts.failed += 1;
                let parents = self.names.iter().take(depth).map(String::as_str);
                let path: Vec<&str> = parents.chain([name]).filter(|name| !name.is_empty()).collect();
                self.pending = Some((path.join(" > "), Vec::new()));
            }
        }
    }

    fn end_failure(&mut self) {
        if let Some((name, lines)) = self.pending.take() {
            self.parsed.name_failure(&name, tail(&message(&lines), 2_000));
        }
    }

    fn end_document(&mut self) {
        self.end_failure();
        self.yaml = None;
        let counted = self.points.drain(..).fold(Counts::default(), add);
        let told = std::mem::take(&mut self.told);
        self.parsed.counts.add(told.counts().unwrap_or(counted));
        let (plan, seen) = (self.plan.take(), std::mem::take(&mut self.seen));
        if let Some(plan) = plan.filter(|plan| *plan > seen) {
            self.parsed.add_failure("run", &format!("{seen} of {plan} planned tests ran"));
        }
        self.names.clear();
    }

    fn finish(mut self) -> Parsed {
        self.end_document();
        self.parsed
    }
}

fn add(mut sum: Counts, counts: Counts) -> Counts {
    sum.add(counts);
    sum
}

impl Told {
    /// A line of the form `pass 3`, or `pass  3` as tape writes it.
    fn read(&mut self, comment: &str) {
        let Some((word, number)) = comment.split_once(' ') else { return };
        let Ok(number) = number.trim().parse::<u64>() else { return };
        match word {
            "tests" => self.tests = Some(number),
            "pass" => self.passed = Some(number),
            "fail" => self.failed = number,
            "cancelled" => self.cancelled = number,
            "skip" | "skipped" => self.skipped = number,
            "todo" => self.todo = number,
            _ => {}
        }
    }

    /// The numbers, if they make sense: all tests are accounted for.
    fn counts(&self) -> Option<Counts> {
        let counts = Counts {
            passed: self.passed?,
            failed: self.failed.saturating_add(self.cancelled),
            skipped: self.skipped.saturating_add(self.todo),
        };
        (self.tests.is_none_or(|tests| counts.total() == tests)).then_some(counts)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Directive {
    None,
    Skip,
    Todo,
}

/// `not ok 3 - name # SKIP reason`.
fn point(body: &str) -> Option<(bool, &str, Directive)> {
    let (passed, rest) = match body.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, body.strip_prefix("ok")?),
    };
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let rest = rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) =
        rest.rsplit_once(" # ").or_else(|| rest.strip_prefix("# ").map(|d| ("", d))).unwrap_or((rest, ""));
    let word = directive.get(..4).unwrap_or_default().to_ascii_lowercase();
    Some(match word.as_str() {
        "skip" => (passed, name.trim(), Directive::Skip),
        "todo" => (passed, name.trim(), Directive::Todo),
        _ if directive.starts_with("time=") => (passed, name.trim(), Directive::None),
        _ => (passed, rest.trim_end_matches('{').trim(), Directive::None),
    })
}

/// What is worth reading of a YAML block.
fn message(lines: &[String]) -> String {
    const NOISE: [&str; 6] = ["duration_ms:", "type:", "failureType:", "location:", "at:", "name:"];
    let lines = lines.iter().filter(|line| !NOISE.iter().any(|noise| line.starts_with(noise)));
    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_runner_is_counted_as_it_counts_itself() {
        let parsed = parse(include_str!("../../tests/fixtures/node.tap"));
        assert_eq!(parsed.counts, Counts { passed: 3, failed: 2, skipped: 2 });
        let names: Vec<_> = parsed.failures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["sums > adds negatives", "divides"]);
        assert!(parsed.failures[0].message.contains("Expected values to be strictly equal"), "{parsed:?}");
    }

    #[test]
    fn tape_is_counted_by_assertion() {
        let parsed = parse(include_str!("../../tests/fixtures/tape.tap"));
        assert_eq!(parsed.counts, Counts { passed: 3, failed: 1, skipped: 0 });
        assert_eq!(parsed.failures[0].name, "should be strictly equal");
    }

    #[test]
    fn points_are_counted_where_no_numbers_are_told() {
        let cases = [
            (
                "TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP no\nnot ok 4 - c # TODO later\n1..4\n",
                (1, 1, 2),
            ),
            ("1..2\nok 1\nok 2\n", (2, 0, 0)),
            ("    ok 1 - x\n    ok 2 - y\n    1..2\nok 1 - parent\n1..1\n", (2, 0, 0)),
            ("    ok 1 - x\n    1..1\nnot ok 1 - parent, torn down badly\n1..1\n", (1, 1, 0)),
            ("1..3\nok 1 - a\n", (1, 1, 0)),
            ("1..0 # SKIP nothing here\n", (0, 0, 0)),
            ("TAP version 13\nok 1 - a\n1..1\nTAP version 13\nok 1 - b\n1..1\n", (2, 0, 0)),
            ("not ok 1 - a\n  ---\nok 2 - b\n", (1, 1, 0)),
            ("# pass 900\nok 1 - a\n1..1\n# tests 1\n# pass 1\n# fail 0\n", (1, 0, 0)),
            ("ok 1 - a\n1..1\n# tests 1\n# pass 1\n# fail 7\n", (1, 0, 0)),
            ("ok 1 - a\nBail out! no database\n", (1, 1, 0)),
        ];
        for (text, (passed, failed, skipped)) in cases {
            let parsed = parse(text);
            assert!(parsed.found, "{text}");
            assert_eq!(parsed.counts, Counts { passed, failed, skipped }, "{text}");
        }
    }

    #[test]
    fn what_is_no_tap_has_no_numbers() {
        assert!(!parse("okay then\nnothing\n# pass word\n").found);
        assert!(!parse(&" ".repeat(1_000_000)).found);
    }
}
