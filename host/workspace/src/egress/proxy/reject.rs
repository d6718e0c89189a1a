//! Answers to what is not done.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sortie_core::action::ActionKind;
use sortie_core::outcome::RefusedAction;
use sortie_core::text::one_line;
use sortie_policy::Refusal;
use sortie_policy::ports::{Body, ErrorCode, PortError};

/// Names the policy and rule that refused.
const REFUSAL: HeaderName = HeaderName::from_static("x-sortie-refusal");

/// Why a request is not served.
pub(super) struct Rejection {
    status: StatusCode,
    text: String,
    refused: Option<Box<RefusedAction>>,
    /// Whether the gate had permitted it.
    was_permitted: bool,
}

impl Rejection {
    /// The request itself is wrong.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into(), refused: None, was_permitted: false }
    }

    /// The connection to `target` was permitted and did not come about.
    pub(super) fn of_connection(target: &str, error: &PortError) -> Self {
        let action = format!("{} {}", ActionKind::NetworkConnect, one_line(target, 200));
        let refused = error.refused(action).map(Box::new);
        Self { status: status(error.code), text: error.message.clone(), refused, was_permitted: true }
    }

    /// What was refused, if this is a refusal and not a failure.
    pub(super) fn refused(&self) -> Option<&RefusedAction> {
        self.refused.as_deref()
    }

    /// Whether the gate let it pass, and the port that was to do it did not.
    pub(super) fn is_of_a_port(&self) -> bool {
        self.was_permitted
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = Full::new(Bytes::from(format!("{}\n", one_line(&self.text, 2000))));
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = self.status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        if self.status == StatusCode::BAD_REQUEST {
            // whoever frames a request wrongly may frame the next one wrongly too
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(refused) = self.refused {
            let rule = refused.rule.as_deref().unwrap_or("-");
            let named: String =
                format!("{}/{rule}", refused.policy).chars().filter(char::is_ascii_graphic).collect();
            let named = HeaderValue::from_str(&named).unwrap_or(HeaderValue::from_static("-"));
            response.headers_mut().insert(REFUSAL, named);
        }
        response
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let refused = Some(Box::new(refusal.report()));
        Self { status: StatusCode::FORBIDDEN, text: refusal.to_string(), refused, was_permitted: false }
    }
}

/// A permitted exchange with a server failed.
impl From<PortError> for Rejection {
    fn from(error: PortError) -> Self {
        Self { status: status(error.code), text: error.message, refused: None, was_permitted: true }
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::Invalid => StatusCode::BAD_REQUEST,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::TooLarge
        | ErrorCode::Cancelled
        | ErrorCode::Unavailable => StatusCode::BAD_GATEWAY,
    }
}
