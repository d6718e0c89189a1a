//! Pages, as they come and as they should not.

use super::*;

fn base() -> Url {
    Url::parse("https://docs.example/guide/index.html").expect("a URL")
}

fn markdown(html: &str) -> String {
    convert(html, &base(), Into::Markdown).expect("converts").content
}

fn text(html: &str) -> String {
    convert(html, &base(), Into::Text).expect("converts").content
}

#[test]
fn a_page_becomes_markdown_with_whole_links() {
    let html = r#"<html><head><title> A
        guide </title></head><body><h1>Guide</h1><p>See <a href="../api#x">the <b>API</b></a>.</p>
        <ul><li>one</li><li>two</li></ul><pre><code class="language-rust">fn main() {}
</code></pre><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table></body></html>"#;
    let page = convert(html, &base(), Into::Markdown).expect("converts");
    assert_eq!(page.title.as_deref(), Some("A guide"));
    for part in [
        "# Guide",
        "[the **API**](https://docs.example/api#x)",
        "- one\n- two",
        "```rust\nfn main() {}\n```",
        "| 1",
    ] {
        assert!(page.content.contains(part), "{part:?} is not in\n{}", page.content);
    }
}

#[test]
fn what_is_no_content_is_left_out() {
    let html = "<body><nav>menu</nav><header>logo</header><script>alert(1)</script><style>p{}</style>\
        <div hidden>secret</div><span aria-hidden=true>icon</span><!-- comment --><div role=navigation>crumbs</div>\
        <form><input value=x><button>Go</button></form><p>content</p><footer>copyright</footer></body>";
    assert_eq!(markdown(html), "content");
    assert_eq!(text(html), "content");
}

#[test]
fn the_main_part_is_taken_where_the_page_has_one() {
    let long = "word ".repeat(60);
    let html =
        format!("<body><div>sidebar</div><main><header><h1>Title</h1></header><p>{long}</p></main></body>");
    let content = markdown(&html);
    assert!(content.starts_with("# Title") && !content.contains("sidebar"), "{content}");
    assert_eq!(markdown("<body><p>all of it</p><main>x</main></body>"), "all of it\n\nx");
}

#[test]
fn links_that_are_not_for_the_web_are_dropped() {
    let content = markdown(
        "<p><a href=\"javascript:alert(1)\">click</a> <img src=\"data:image/png;base64,AAAA\" alt=a></p>",
    );
    assert!(
        content.contains("click") && !content.contains("javascript") && !content.contains("base64"),
        "{content}"
    );
}

#[test]
fn text_keeps_paragraphs_items_and_preformatted_lines() {
    let html = "<p>one\n  two</p><ul><li>a</li><li>b</li></ul><pre>x\n  y</pre><p>three<br>four</p>";
    assert_eq!(text(html), "one two\n\n- a\n- b\n\nx\n  y\n\nthree\nfour");
}

/// Runs with a stack of the size that a guest has.
fn on_a_guests_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(work).expect("a thread starts");
    thread.join().expect("it neither overflows nor panics");
}

#[test]
fn deep_nesting_does_not_overflow_and_keeps_the_text() {
    for tag in ["div", "b", "blockquote", "ul><li", "span", "a href=x", "table><tr><td"] {
        on_a_guests_stack(move || {
            let html = format!("{}deep", format!("<{tag}>").repeat(500));
            let content = convert(&html, &base(), Into::Markdown).expect("converts").content;
            assert!(content.contains("deep"), "{tag}");
            assert!(convert(&html, &base(), Into::Text).expect("converts").content.contains("deep"), "{tag}");
        });
    }
}

#[test]
fn nesting_without_end_is_refused_with_its_depth() {
    let error = convert(&"<div>".repeat(150_000), &base(), Into::Markdown).expect_err("too deep");
    assert!(error.contains("150000 deep"), "{error}");
}

#[test]
fn too_many_tags_are_refused_with_their_number() {
    let error = convert(&"<p>".repeat(300_000), &base(), Into::Markdown).expect_err("too many");
    assert!(error.contains("300000 tags"), "{error}");
}

#[test]
fn what_is_hardly_html_is_still_text() {
    assert_eq!(markdown("just words"), "just words");
    assert_eq!(markdown(""), "");
    assert_eq!(text("<p>a &lt;b&gt; &amp; c"), "a <b> & c");
}
