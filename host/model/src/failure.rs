//! Why an attempt gave no reply, and whether another one could.

use std::time::Duration;

use serde_json::Value;
use sortie_core::Secret;
use sortie_core::text::{clip, one_line};

use crate::json;
use crate::sse::TooLarge;

/// Longest text of a server that becomes part of a message, in bytes.
const LONGEST_MESSAGE: usize = 1000;

/// Why an attempt gave no reply. The texts are as the server sent them: they
/// go through [`clean`] before anybody sees them.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt may help, after this wait if the server named one.
    Transient { message: String, after: Option<Duration> },
    /// The key is not accepted.
    Unauthorised(String),
    /// The request is refused; the status is the response's or the one that
    /// an error within the stream stands for.
    Rejected { status: u16, message: String },
    /// The answer is not of the protocol.
    Protocol(String),
}

impl Failure {
    /// A failure that may pass.
    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self::Transient { message: message.into(), after: None }
    }

    /// What the head of a response and the start of its body say.
    pub(crate) fn of_response(status: u16, body: &[u8], after: Option<Duration>, may_retry: bool) -> Self {
        let error = ServerError::of_body(body);
        let message = error.message_or("it gives no reason");
        match status {
            401 | 403 => Self::Unauthorised(message),
            429 if error.is_out_of_funds() => Self::Rejected { status, message },
            408 | 409 | 429 | 500..=599 if may_retry => {
                Self::Transient { message: format!("status {status}: {message}"), after }
            }
            _ => Self::Rejected { status, message },
        }
    }

    /// What an error within a stream says.
    pub(crate) fn of_event(error: &Value) -> Self {
        let error = ServerError::of_value(error);
        let message = error.message_or("the stream holds an error without a reason");
        match error.status() {
            401 | 403 => Self::Unauthorised(message),
            408 | 409 | 500.. => Self::transient(message),
            429 if !error.is_out_of_funds() => Self::transient(message),
            status => Self::Rejected { status, message },
        }
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// The text of a server on one line: without terminal escapes, without the
/// key, shortened. Escapes go first, since they could hide the key's pieces
/// from the search; the shortening comes last, since it could cut the key.
pub(crate) fn clean(text: &str, key: Option<&Secret>) -> String {
    let text = one_line(text, usize::MAX);
    let text = key.map_or_else(|| text.clone(), |key| key.scrub(&text));
    clip(&text, LONGEST_MESSAGE).into_owned()
}

/// An error as servers describe it: `{"error": {"message", "type", "code"}}`,
/// `{"error": "…"}`, `{"detail": "…"}`, `{"message": "…"}`, or plain text.
#[derive(Debug, Default)]
struct ServerError {
    message: String,
    kind: String,
    code: String,
}

impl ServerError {
    fn of_body(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        // servers that had begun a stream in mind put the error into an event
        let event = text.lines().find_map(|line| line.strip_prefix("data:"));
        match serde_json::from_str::<Value>(event.unwrap_or(&text)) {
            Ok(value) => Self::of_value(json::present(&value, "error").unwrap_or(&value)),
            Err(_) => Self { message: text.into_owned(), ..Self::default() },
        }
    }

    fn of_value(value: &Value) -> Self {
        let code = match value.get("code") {
            Some(Value::String(code)) => code.clone(),
            Some(Value::Number(code)) => code.to_string(),
            _ => String::new(),
        };
        let message = match value {
            Value::String(message) => message.clone(),
            value => ["message", "detail", "error"]
                .iter()
                .filter_map(|key| json::present(value, key))
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .next()
                .unwrap_or_default(),
        };
        Self { message, kind: json::text(value, "type").to_owned(), code }
    }

    fn message_or(&self, none: &str) -> String {
        let what = [&self.message, &self.code, &self.kind].into_iter().find(|text| !text.trim().is_empty());
        what.map_or_else(|| none.to_owned(), Clone::clone)
    }

    /// A spent quota answers 429 like a passing one, but waiting does not fill it.
    fn is_out_of_funds(&self) -> bool {
        [&self.code, &self.kind]
            .into_iter()
            .any(|text| text.contains("insufficient_quota") || text.contains("billing"))
    }

    /// The HTTP status that an error within a stream stands for. Unknown
    /// errors are taken for the server's own.
    fn status(&self) -> u16 {
        if let Some(status) = self.code.parse().ok().filter(|status| (400..600).contains(status)) {
            return status;
        }
        [&self.code, &self.kind].into_iter().find_map(|name| status_of_name(name)).unwrap_or(500)
    }
}

fn status_of_name(name: &str) -> Option<u16> {
    Some(match name {
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_quota" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        "api_error" | "server_error" | "internal_server_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        "context_length_exceeded" | "data_residency_mismatch" => 400,
        name if name.starts_with("invalid_") || name.contains("policy") => 400,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(status: u16, body: &str) -> Failure {
        Failure::of_response(status, body.as_bytes(), None, true)
    }

    #[test]
    fn statuses_say_whether_to_try_again() {
        for status in [408, 409, 429, 500, 502, 503, 504, 529] {
            assert!(matches!(response(status, ""), Failure::Transient { .. }), "{status}");
        }
        for status in [400, 404, 413, 422, 302] {
            assert!(matches!(response(status, ""), Failure::Rejected { .. }), "{status}");
        }
        for status in [401, 403] {
            assert!(matches!(response(status, ""), Failure::Unauthorised(_)), "{status}");
        }
        assert!(matches!(Failure::of_response(503, b"", None, false), Failure::Rejected { .. }));
    }

    #[test]
    fn a_spent_quota_is_not_waited_for() {
        let body = r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#;
        let Failure::Rejected { status: 429, message } = response(429, body) else { panic!("is final") };
        assert_eq!(message, "You exceeded your quota");
    }

    #[test]
    fn the_reason_is_found_in_every_usual_form() {
        for body in [
            r#"{"error":{"message":"too long","type":"x"}}"#,
            r#"{"type":"error","error":{"type":"x","message":"too long"}}"#,
            r#"{"error":"too long"}"#,
            r#"{"detail":"too long"}"#,
            r#"{"object":"error","message":"too long","code":400}"#,
            "event: error\ndata: {\"error\": {\"message\": \"too long\"}}\n\ndata: [DONE]\n\n",
            "too long",
        ] {
            let Failure::Rejected { message, .. } = response(400, body) else { panic!("is final") };
            assert_eq!(message, "too long", "{body}");
        }
    }

    #[test]
    fn errors_within_a_stream_are_told_apart() {
        let failure = |value: Value| Failure::of_event(&value);
        for passing in [
            json!({"type": "overloaded_error", "message": "m"}),
            json!({"code": "rate_limit_exceeded", "message": "m"}),
            json!({"code": 502, "message": "m"}),
            json!({"code": "429", "message": "m"}),
            json!({"message": "m"}),
            json!("m"),
        ] {
            assert!(matches!(failure(passing.clone()), Failure::Transient { .. }), "{passing}");
        }
        for (final_, expected) in [
            (json!({"type": "invalid_request_error", "message": "m"}), 400),
            (json!({"code": "context_length_exceeded", "message": "m"}), 400),
            (json!({"code": "bio_policy", "message": "m"}), 400),
            (json!({"type": "request_too_large", "message": "m"}), 413),
            (json!({"code": "insufficient_quota", "message": "m"}), 402),
        ] {
            let Failure::Rejected { status, .. } = failure(final_.clone()) else { panic!("{final_}") };
            assert_eq!(status, expected, "{final_}");
        }
        assert!(matches!(failure(json!({"type": "authentication_error"})), Failure::Unauthorised(_)));
    }

    #[test]
    fn a_key_does_not_survive_escapes_or_the_cut() {
        let key = Secret::new("sk-secret-0123456789");
        let cleaned = clean("bad sk-sec\u{1b}[0mret-0123456789\r\nkey", Some(&key));
        assert_eq!(cleaned, "bad **** key");
        let cleaned = clean(&format!("{}sk-secret-0123456789", "x".repeat(LONGEST_MESSAGE - 5)), Some(&key));
        assert!(!cleaned.contains("sk-"), "{cleaned}");
    }
}
