//! Errors as HTTP responses.

use super::Error;

impl Error {
    /// The HTTP status of a request that ends with it: 400 for what the caller sent, 404 for what does not exist, 409 for what does not fit
    /// the state, 413 for what is too large, 503 while the database is away, 504 for a wait that was too long, 500 otherwise.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::OverLimit { .. } => 413,
            Self::InvalidArgument { .. }
            | Self::NotRepresentable { .. }
            | Self::NotStorable(_)
            | Self::UnknownParent { .. }
            | Self::Cycle { .. }
            | Self::InvalidSchedule(_) => 400,
            Self::NotFound(_) | Self::TaskRemoved(_) | Self::UnknownQueue(_) | Self::UnknownSchedule(_) => 404,
            Self::WrongState { .. }
            | Self::UniqueKeyHeld { .. }
            | Self::EditedMeanwhile(_)
            | Self::DuplicateId(_)
            | Self::DuplicateSchedule(_) => 409,
            Self::WaitTimeout { .. } => 504,
            Self::ShutDown(_) => 503,
            error if error.is_transient() => 503,
            _ => 500,
        }
    }
}

/// The status of [`Error::http_status`], and JSON: `{"error": "there is no task …", "code": "not_found"}`. What is not the caller's
/// fault (500 and above) is logged, and its text, which may name parts of the system, is not sent.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for Error {
    fn into_response(self) -> axum_core::response::Response {
        let status = self.http_status();
        let text = match status {
            503 => {
                tracing::warn!(error = %self, "a request is answered with 503");
                "the task queue is unavailable".to_owned()
            }
            500.. if !matches!(self, Self::WaitTimeout { .. }) => {
                tracing::error!(error = %self, "a request is answered with {status}");
                "the task queue failed".to_owned()
            }
            _ => self.to_string(),
        };
        let body = serde_json::json!({ "error": text, "code": self.code() }).to_string();
        let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(http::header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskId;

    #[test]
    fn the_status_says_whose_fault_it_is() {
        let id = TaskId::generate();
        for (error, status) in [
            (Error::InvalidArgument { what: "queue", why: "it is empty".into() }, 400),
            (Error::NotFound(id), 404),
            (Error::DuplicateId(id), 409),
            (Error::OverLimit { what: "the arguments", setting: "x", size: 2, max: 1, list_bytes: 0 }, 413),
            (Error::TaskFailed { id, error_type: "E".into(), message: String::new(), traceback: None }, 500),
            (Error::Refused("no".into()), 500),
            (Error::Connection("refused".into()), 503),
            (Error::QueueUnavailable { waiting: 1, bytes: 1, cause: "away".into() }, 503),
            (Error::WaitTimeout { id, seconds: 1.0, state: None, parked: None }, 504),
        ] {
            assert_eq!(error.http_status(), status, "{error}");
        }
    }
}
