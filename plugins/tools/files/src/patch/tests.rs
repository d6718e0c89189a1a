//! Patches, through the tool.

use std::cell::Cell;

use sortie_sdk::files::IfMatch;
use sortie_sdk::testing::Host;

use super::*;

const FILE: &str = "one\ntwo\nthree\nfour\nfive\n";

fn host() -> Host {
    Host::new().file("a", FILE)
}

fn patch(host: &Host, patch: &str) -> Result<Output> {
    host.call::<ApplyPatch>(json!({ "patch": patch }))
}

/// What becomes of a text by a patch of the first format, without its head and tail.
fn begin(text: &str, body: &str) -> Result<String> {
    let host = Host::new().file("a", text);
    patch(&host, &format!("*** Begin Patch\n*** Update File: a\n{body}\n*** End Patch"))?;
    Ok(host.text("a").expect("is there"))
}

/// The same of the hunks of a unified diff.
fn unified(text: &str, hunks: &str) -> Result<String> {
    let host = Host::new().file("a", text);
    patch(&host, &format!("--- a/a\n+++ b/a\n{hunks}"))?;
    Ok(host.text("a").expect("is there"))
}

#[test]
fn a_file_is_added_changed_moved_and_deleted_in_one_patch() {
    let host = host().file("old", "x\ny\n").file("gone", "z\n");
    let text = "*** Begin Patch\n*** Add File: new/file\n+first\n+\n+last\n*** Update File: a\n@@\n one\n-two\n+2\n\
                *** Update File: old\n*** Move to: moved\n@@\n-x\n+X\n*** Delete File: gone\n*** End Patch\n";
    let output = patch(&host, text).expect("applies");
    assert_eq!(
        output.content,
        "added new/file (+3)\nchanged a (+1 -1)\nmoved old to moved (+1 -1)\ndeleted gone"
    );
    assert_eq!(output.details["paths"], json!(["a", "gone", "moved", "new/file", "old"]));
    assert_eq!(host.paths(), ["a", "moved", "new/file"]);
    assert_eq!(host.text("new/file").expect("is there"), "first\n\nlast\n");
    assert_eq!(host.text("a").expect("is there"), "one\n2\nthree\nfour\nfive\n");
    assert_eq!(host.text("moved").expect("is there"), "X\ny\n");
}

#[test]
fn an_anchor_tells_equal_places_apart() {
    let text = "fn a() {\n    x\n}\nfn b() {\n    x\n}\n";
    let expected = "fn a() {\n    x\n}\nfn b() {\n    y\n}\n";
    for anchor in ["@@ fn b() {", "@@ fn b()", "@@ fn a() {\n@@ fn b() {"] {
        assert_eq!(begin(text, &format!("{anchor}\n-    x\n+    y")).expect(anchor), expected);
    }
    let error = begin(text, "@@ fn c() {\n-    x\n+    y").expect_err("has no such line");
    assert!(error.message.contains("`fn c() {`"), "{error}");
}

#[test]
fn white_space_and_typography_are_overlooked_said_so_and_kept_as_the_file_has_them() {
    let host = Host::new().file("a", "\tif x {  \n\t\tsay(\u{201c}hi\u{201d})\n\t}\n");
    let text =
        "*** Begin Patch\n*** Update File: a\n@@\n if x {\n-    say(\"hi\")\n+\t\tsay(1)\n }\n*** End Patch";
    let output = patch(&host, text).expect("applies");
    assert_eq!(host.text("a").expect("is there"), "\tif x {  \n\t\tsay(1)\n\t}\n");
    assert!(
        output.content.contains("differences in white space and punctuation were overlooked"),
        "{output:?}"
    );
}

#[test]
fn an_exact_place_further_down_is_better_than_a_likely_one_above() {
    assert_eq!(begin("  x\nx\n", "@@\n-x\n+y").expect("applies"), "  x\ny\n");
}

#[test]
fn several_hunks_go_down_the_file_and_never_back() {
    assert_eq!(begin(FILE, "@@\n-one\n+1\n@@\n-five\n+5").expect("applies"), "1\ntwo\nthree\nfour\n5\n");
    let error = begin(FILE, "@@\n-five\n+5\n@@\n-one\n+1").expect_err("is out of order");
    assert!(error.message.contains("hunk 2 of 2") && error.message.contains("in order"), "{error}");
}

#[test]
fn lines_without_any_around_them_go_to_the_end_or_below_the_anchor() {
    assert_eq!(begin("a\n", "@@\n+b").expect("applies"), "a\nb\n");
    assert_eq!(begin("a\nb\n", "@@ a\n+x").expect("applies"), "a\nx\nb\n");
    assert_eq!(begin("a", "@@\n+b").expect("applies"), "a\nb\n");
}

#[test]
fn the_end_of_a_file_is_preferred_where_it_is_said() {
    assert_eq!(begin("x\ny\nx\n", "@@\n-x\n+z\n*** End of File").expect("applies"), "x\ny\nz\n");
}

#[test]
fn line_ends_of_the_file_are_kept() {
    assert_eq!(begin("a\r\nb\r\n", "@@\n a\n-b\n+c\n+d").expect("applies"), "a\r\nc\r\nd\r\n");
    assert_eq!(unified("a\nb\n", "@@ -1,2 +1,2 @@\r\n a\r\n-b\r\n+c\r\n").expect("applies"), "a\nc\n");
}

#[test]
fn a_patch_that_was_cut_off_changes_nothing() {
    let host = host();
    let error = patch(&host, "*** Begin Patch\n*** Update File: a\n@@\n-one\n+1\n").expect_err("was cut off");
    assert!(error.message.contains("cut off"), "{error}");
    assert_eq!(host.text("a").expect("is there"), FILE);
}

#[test]
fn a_change_that_does_not_fit_leaves_all_files_alone() {
    let host = host().file("b", "x\n");
    let text = "*** Begin Patch\n*** Update File: b\n@@\n-x\n+y\n*** Add File: c\n+c\n*** Update File: a\n@@\n one\n-TWO\n*** End Patch";
    let error = patch(&host, text).expect_err("does not fit");
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(
        error.message,
        "a, hunk 1 of 1: not found. Nearest is line 1, but line 2 is `two` where the patch has `TWO`"
    );
    assert_eq!((host.text("b").as_deref(), host.read("c")), (Some("x\n"), None));
}

#[test]
fn a_write_that_is_refused_takes_the_others_back() {
    let refuse = |operation: &str, path: &str| {
        let last = operation == "write" && path == "z" || operation == "remove" && path == "y";
        last.then(|| Error { rule: Some("p/r".into()), ..Error::denied("no") })
    };
    for last in ["*** Update File: z\n@@\n-z\n+Z", "*** Delete File: y"] {
        let host = host().file("y", "y\n").file("z", "z\n").file("b", "b\n").refuse(refuse);
        let text = format!(
            "*** Begin Patch\n*** Update File: a\n@@\n-one\n+1\n*** Add File: c\n+c\n{last}\n*** End Patch"
        );
        let error = patch(&host, &text).expect_err("is denied");
        assert_eq!((error.code, error.rule.as_deref()), (ErrorCode::Denied, Some("p/r")));
        assert_eq!(error.message, "no; nothing was changed");
        assert_eq!(host.paths(), ["a", "b", "y", "z"]);
        assert_eq!(host.text("a").expect("is there"), FILE);
    }
}

#[test]
fn changes_of_one_file_in_two_sections_add_up() {
    let host = host();
    let text =
        "*** Begin Patch\n*** Update File: a\n@@\n-one\n+1\n*** Update File: a\n@@\n-1\n+I\n*** End Patch";
    patch(&host, text).expect("applies");
    assert_eq!(host.text("a").expect("is there"), "I\ntwo\nthree\nfour\nfive\n");
}

#[test]
fn what_exists_is_not_added_and_what_does_not_is_neither_changed_nor_deleted() {
    for (body, message) in [
        ("*** Add File: a\n+x", "a exists already: update it, or delete it first"),
        (
            "*** Update File: a\n*** Move to: b\n@@\n-one\n+1",
            "b exists already: update it, or delete it first",
        ),
        ("*** Delete File: c", "c does not exist"),
        ("*** Update File: src/c\n@@\n-x\n+y", "src/c does not exist"),
    ] {
        let host = host().file("b", "b\n");
        let error = patch(&host, &format!("*** Begin Patch\n{body}\n*** End Patch")).expect_err(body);
        assert_eq!(error.message, message);
        assert_eq!(host.text("a").expect("is there"), FILE);
    }
}

#[test]
fn malformed_patches_say_what_is_wrong() {
    for (text, part) in [
        ("", "changes no file"),
        ("hello\nworld", "changes no file"),
        ("*** Begin Patch\n*** End Patch", "changes no file"),
        ("*** Begin Patch\nhello\n*** End Patch", "`hello`"),
        ("*** Begin Patch\n*** Add File:\n*** End Patch", "names no path"),
        ("*** Begin Patch\n*** Add File: x\nno plus\n*** End Patch", "`no plus`"),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "changes nothing"),
        ("*** Begin Patch\n*** Update File: a\n@@\n?one\n*** End Patch", "`?one`"),
        ("*** Begin Patch\n*** Delete File: a\n-one\n*** End Patch", "has no place"),
        ("--- a/a\n+++ b/a\n", "no hunks"),
        ("@@ -1 +1 @@\n-one\n+1\n", "`---` and `+++`"),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n", "/dev/null"),
        ("--- a/a\n+++ b/a\n@@ -1 +1 @@\n", "empty"),
        ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "binary"),
    ] {
        let error = patch(&host(), text).expect_err(text);
        assert!(error.message.contains(part), "{error} does not say {part}");
    }
}

#[test]
fn paths_that_lead_out_are_refused_before_anything_is_written() {
    for path in ["../x", "/etc/x", "b/../../x"] {
        let host = host();
        let text = format!(
            "*** Begin Patch\n*** Update File: a\n@@\n-one\n+1\n*** Add File: {path}\n+x\n*** End Patch"
        );
        assert_eq!(patch(&host, &text).expect_err("leads out").code, ErrorCode::Invalid);
        assert_eq!(host.text("a").expect("is there"), FILE);
    }
}

#[test]
fn a_diff_of_git_with_several_files_applies() {
    let host = host().file("old name", "x\n").file("gone", "g\n").file("ä", "u\n");
    let text = "\
From 1234 Mon Sep 17 00:00:00 2001
Subject: [PATCH] several

---
 a | 2 +-

diff --git a/a b/a
index 1..2 100644
--- a/a
+++ b/a
@@ -1,3 +1,3 @@ section
 one
-two
+2
 three
@@ -5 +5,2 @@
 five
+six
diff --git a/new b/new
new file mode 100644
--- /dev/null
+++ b/new
@@ -0,0 +1,2 @@
+n
+m
\\ No newline at end of file
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-g
diff --git a/old name b/new name
similarity index 100%
rename from old name
rename to new name
diff --git a/empty b/empty
new file mode 100644
index 0..e
diff --git \"a/\\303\\244\" \"b/\\303\\244\"
--- \"a/\\303\\244\"
+++ \"b/\\303\\244\"
@@ -1 +1 @@
-u
+v
-- 
2.39.2
";
    patch(&host, text).expect("applies");
    assert_eq!(host.text("a").expect("is there"), "one\n2\nthree\nfour\nfive\nsix\n");
    assert_eq!(host.text("new").expect("is there"), "n\nm");
    assert_eq!(host.text("ä").expect("is there"), "v\n");
    assert_eq!(host.paths(), ["a", "empty", "new", "new name", "ä"]);
}

#[test]
fn hunks_find_their_place_though_their_numbers_are_off() {
    let text = "x\n".repeat(50) + FILE + &"x\n".repeat(50);
    let expected = text.replace("two", "2");
    for numbers in ["-1,3 +1,3", "-52,3 +52,3", "-99,3 +99,3", "-900,3 +900,3"] {
        assert_eq!(
            unified(&text, &format!("@@ {numbers} @@\n one\n-two\n+2\n three\n")).expect(numbers),
            expected
        );
    }
}

#[test]
fn of_equal_places_the_one_nearest_to_the_number_is_meant() {
    let text = "x\ny\nx\ny\nx\ny\n";
    assert_eq!(unified(text, "@@ -3,2 +3,2 @@\n-x\n+z\n y\n").expect("applies"), "x\ny\nz\ny\nx\ny\n");
    let both = "@@ -1,2 +1,4 @@\n+a\n+b\n x\n y\n@@ -5,2 +7,2 @@\n-x\n+z\n y\n";
    assert_eq!(unified(text, both).expect("applies"), "a\nb\nx\ny\nx\ny\nz\ny\n");
}

#[test]
fn counts_that_are_wrong_do_not_matter() {
    for counts in ["-1,9 +1,9", "-1 +1", "-1,0 +1,0", ""] {
        let hunks = format!("@@ {counts} @@\n one\n-two\n+2\n three\n@@ -5,4 +5,9 @@\n-five\n+5\n");
        assert_eq!(unified(FILE, &hunks).expect(counts), "one\n2\nthree\nfour\n5\n");
    }
    let host = host().file("b", "b\n");
    let text = "--- a/a\n+++ b/a\n@@ -1,9 +1,9 @@\n-one\n+1\n--- a/b\n+++ b/b\n@@ -1 +1 @@\n-b\n+B\n";
    patch(&host, text).expect("applies");
    assert_eq!(host.text("b").expect("is there"), "B\n");
}

#[test]
fn lines_that_look_like_headers_are_lines_where_the_counts_say_so() {
    let text = "a\n-- b\nc\n";
    let hunks = "@@ -1,3 +1,3 @@\n a\n--- b\n+++ b\n c\n";
    assert_eq!(unified(text, hunks).expect("applies"), "a\n++ b\nc\n");
}

#[test]
fn a_missing_line_end_comes_and_goes_as_the_diff_says() {
    let mark = "\\ No newline at end of file\n";
    assert_eq!(unified("a\nb", &format!("@@ -2 +2 @@\n-b\n{mark}+b\n")).expect("applies"), "a\nb\n");
    assert_eq!(unified("a\nb\n", &format!("@@ -2 +2 @@\n-b\n+c\n{mark}")).expect("applies"), "a\nc");
    assert_eq!(unified("a\nb", &format!("@@ -1,2 +1,2 @@\n-a\n+A\n b\n{mark}")).expect("applies"), "A\nb");
    assert_eq!(
        unified("a\nb", &format!("@@ -2 +2,2 @@\n-b\n{mark}+b\n+c\n{mark}")).expect("applies"),
        "a\nb\nc"
    );
}

#[test]
fn an_insertion_without_lines_around_it_goes_behind_the_line_named() {
    assert_eq!(unified("a\nb\n", "@@ -1,0 +2 @@\n+x\n").expect("applies"), "a\nx\nb\n");
    assert_eq!(unified("", "@@ -0,0 +1 @@\n+x\n").expect("applies"), "x\n");
}

#[test]
fn blank_lines_that_lost_their_space_still_count() {
    assert_eq!(unified("a\n\nb\n", "@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n").expect("applies"), "a\n\nc\n");
    assert_eq!(begin("a\n\nb\n", "@@\n a\n\n-b\n+c\n").expect("applies"), "a\n\nc\n");
}

#[test]
fn a_diff_without_prefixes_and_one_with_times_apply() {
    for names in [
        "--- a\n+++ a\n",
        "--- a\t2026-01-01 10:00\n+++ a\t2026-01-01 10:01\n",
        "--- a.orig\n+++ a\n",
        "--- ./a\n+++ ./a\n",
    ] {
        let host = host();
        patch(&host, &format!("{names}@@ -1 +1 @@\n-one\n+1\n")).expect(names);
        assert!(host.text("a").expect("is there").starts_with("1\n"), "{names}");
    }
}

#[test]
fn a_patch_in_a_fence_with_prose_around_it_applies() {
    let host = host();
    patch(&host, "Here it is:\n```diff\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n```\nDone.")
        .expect("applies");
    patch(&host, "```\n*** Begin Patch\n*** Update File: a\n@@\n-1\n+I\n*** End Patch\n```")
        .expect("applies");
    assert!(host.text("a").expect("is there").starts_with("I\n"));
}

#[test]
fn a_file_that_changed_since_it_was_read_is_not_overwritten() {
    let meddled = Cell::new(false);
    let host = host().refuse(move |operation, path| {
        if operation == "write" && !meddled.replace(true) {
            files::write(path, "somebody else's\n", IfMatch::Any).expect("writes");
        }
        None
    });
    let error = patch(&host, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n").expect_err("conflicts");
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(host.text("a").as_deref(), Some("somebody else's\n"));
}

#[test]
fn texts_made_to_hurt_are_answered() {
    let many = "@@\n".repeat(20_000);
    assert!(begin(FILE, &many).is_err());
    let long = "x".repeat(1 << 20);
    assert!(begin(&long, &format!("@@\n-{long}y\n+z")).is_err());
    for text in [
        "--- \n+++ \n@@",
        "diff --git ",
        "diff --git \"a/\\9 b",
        "--- a/a\n+++ b/a\n@@ -99999999999999999999 +1 @@\n-one\n+1\n",
        "\\",
        "@@ -18446744073709551615,18446744073709551615 +1 @@\n+a",
    ] {
        let _ = patch(&host(), text);
    }
    for line in ["18446744073709551615", "9223372036854775808", "9223372036854775807"] {
        let huge = format!("@@ -{line},2 +{line},2 @@\n-one\n+1\n two\n");
        assert!(unified(FILE, &huge).is_ok(), "{line}");
    }
}
