//! The tool over a pretended web.

use std::cell::RefCell;
use std::rc::Rc;

use sortie_sdk::testing::Host;

use super::*;

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Response { status, headers, body: body.into(), truncated: false }
}

fn serving(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Host {
    let answer = response(status, headers, body);
    Host::new().http(move |_| Ok(answer.clone()))
}

fn fetch(host: &Host, arguments: Value) -> Result<Output> {
    host.call::<Fetch>(arguments)
}

const URL: &str = "https://a.example/x";

#[test]
fn a_page_is_markdown_by_default_and_html_or_text_on_request() {
    let host = serving(200, &[("content-type", "text/html")], "<title>T</title><h1>Hello</h1><p>a <b>b</b>");
    let content =
        |format: &str| fetch(&host, json!({"url": URL, "format": format})).expect("is there").content;
    assert_eq!(
        fetch(&host, json!({"url": URL})).expect("is there").content,
        "Title: T\n\n# Hello\n\na **b**"
    );
    assert_eq!(content("text"), "Title: T\n\nHello\n\na b");
    assert_eq!(content("html"), "<title>T</title><h1>Hello</h1><p>a <b>b</b>");
}

#[test]
fn json_is_returned_as_it_is() {
    let host = serving(200, &[("content-type", "application/json")], "{\"a\": [1, 2]}");
    let output = fetch(&host, json!({"url": URL})).expect("is there");
    assert_eq!(output.content, "{\"a\": [1, 2]}");
    assert_eq!(output.details["status"], 200);
}

#[test]
fn urls_that_are_not_for_this_are_refused_before_any_request() {
    let host = Host::new().http(|request| panic!("{} was requested", request.url));
    let long = format!("https://a.example/{}", "x".repeat(10_000));
    for url in [
        "ftp://a.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "https://user:pw@a.example/",
        "https://user@a.example/",
        "not a url",
        "//a.example",
        "https://",
        &long,
    ] {
        let error = fetch(&host, json!({"url": url})).expect_err(url);
        assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge), "{url}: {error}");
        assert!(!error.message.contains("pw"), "{error}");
    }
}

#[test]
fn each_redirect_is_a_request_of_its_own_and_there_are_five_at_most() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    let host = Host::new().http(move |request| {
        log.borrow_mut().push(request.url.clone());
        Ok(match request.url.as_str() {
            "https://a.example/x" => response(301, &[("location", "/y#part")], ""),
            "https://a.example/y" => response(302, &[("location", "//b.example/z")], ""),
            _ => response(200, &[("content-type", "text/plain")], "end"),
        })
    });
    let output = fetch(&host, json!({"url": URL})).expect("is there");
    assert_eq!(*seen.borrow(), [URL, "https://a.example/y", "https://b.example/z"]);
    assert_eq!(output.content, "URL: https://b.example/z\n\nend");
    assert_eq!(output.details["redirects"], json!([URL, "https://a.example/y"]));

    let count = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&count);
    let host = Host::new().http(move |_| {
        *counted.borrow_mut() += 1;
        Ok(response(302, &[("location", "/again")], ""))
    });
    let error = fetch(&host, json!({"url": URL})).expect_err("a circle");
    assert!(error.message.contains("more than 5 redirects"), "{error}");
    assert_eq!(*count.borrow(), 6);
}

#[test]
fn a_redirect_to_what_is_not_fetched_ends_there() {
    let long = format!("/{}", "x".repeat(MAX_URL)).leak();
    for location in
        ["file:///etc/passwd", "https://user:pw@b.example/", "http://[", "gopher://b.example/", long]
    {
        let seen = Rc::new(RefCell::new(0));
        let log = Rc::clone(&seen);
        let host = Host::new().http(move |_| {
            *log.borrow_mut() += 1;
            Ok(response(302, &[("location", location)], ""))
        });
        fetch(&host, json!({"url": URL})).expect_err(location);
        assert_eq!(*seen.borrow(), 1, "{location}");
    }
}

#[test]
fn a_refusal_of_the_host_is_passed_on() {
    let host = Host::new().http(|request| match request.url.as_str() {
        URL => Ok(response(302, &[("location", "http://10.0.0.1/")], "")),
        _ => Err(Error::denied("the address is not a public one")),
    });
    let error = fetch(&host, json!({"url": URL})).expect_err("denied");
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("http://10.0.0.1/"), "{error}");
}

#[test]
fn what_is_no_text_is_refused_with_type_and_size() {
    let host = serving(200, &[("content-type", "image/png"), ("content-length", "1234")], vec![0x89, b'P']);
    let error = fetch(&host, json!({"url": URL})).expect_err("binary");
    assert!(error.message.contains("image/png") && error.message.contains("1234 bytes"), "{error}");
    let host = serving(200, &[("content-type", "text/plain"), ("content-encoding", "br")], "x");
    assert!(fetch(&host, json!({"url": URL})).expect_err("compressed").message.contains("compressed"));
}

#[test]
fn a_status_that_is_no_success_is_an_error_with_the_servers_words() {
    let host = serving(404, &[("content-type", "text/html")], "<script>x</script><p>No such page</p>");
    let error = fetch(&host, json!({"url": URL})).expect_err("not found");
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.ends_with("answered with status 404: No such page"), "{error}");
    assert_eq!(
        fetch(&serving(500, &[], ""), json!({"url": URL})).expect_err("broken").code,
        ErrorCode::Unavailable
    );
}

#[test]
fn long_content_comes_in_pieces() {
    let host = serving(200, &[("content-type", "text/plain")], "abcdefghij".repeat(10));
    let output = fetch(&host, json!({"url": URL, "max_chars": 30})).expect("is there");
    assert!(output.content.ends_with("[characters 0 to 30 of 100; call again with start = 30 for the next]"));
    let output = fetch(&host, json!({"url": URL, "max_chars": 30, "start": 90})).expect("is there");
    assert_eq!(output.content, "abcdefghij");
    assert!(fetch(&host, json!({"url": URL, "start": 100})).is_err());
}

#[test]
fn a_body_beyond_the_bound_is_cut_and_said_so() {
    let host = serving(200, &[("content-type", "text/plain")], vec![b'a'; MAX_BYTES + 1]);
    let output = fetch(&host, json!({"url": URL})).expect("is there");
    assert!(output.content.ends_with("bytes of the document were read]"), "{}", output.content.len());
    assert_eq!(output.details["truncated"], true);
    assert_eq!(output.details["bytes"], MAX_BYTES);
}
