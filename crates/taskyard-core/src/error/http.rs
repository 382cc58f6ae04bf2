//! Errors as HTTP responses.

use super::Error;

impl Error {
    /// Returns the HTTP status of a request that fails with this error.
    ///
    /// 400 for invalid input, 404 for what does not exist, 409 for a conflict with the current state (including a task
    /// that was cancelled or stopped), 413 for a value over its limit, 503 while the database is unavailable, 504 for a
    /// wait that timed out, 500 otherwise.
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
            | Self::DuplicateSchedule(_)
            | Self::TaskCancelled(_)
            | Self::TaskStopped(_) => 409,
            Self::WaitTimeout { .. } => 504,
            Self::ShutDown(_) => 503,
            error if error.is_transient() => 503,
            _ => 500,
        }
    }

    /// Returns the text sent in place of the error's own message, if that message would reveal internals.
    #[cfg(any(feature = "axum", test))]
    const fn text_instead(&self, status: u16) -> Option<&'static str> {
        match self {
            Self::TaskFailed { .. } => Some("the task failed"),
            Self::WaitTimeout { .. } => Some("the task has not ended yet"),
            Self::NotStorable(_) => Some("the database rejected the value"),
            _ if status == 503 => Some("the task queue is unavailable"),
            _ if status == 500 => Some("the task queue failed"),
            _ => None,
        }
    }
}

/// Responds with the status of [`Error::http_status`] and JSON: `{"error": "there is no task …", "code": "not_found"}`.
///
/// Messages that reveal internals (the database's message, why a task waits, how it failed) are logged and not sent.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for Error {
    fn into_response(self) -> axum_core::response::Response {
        let status = self.http_status();
        let hidden = self.text_instead(status);
        if hidden.is_some() {
            const SAID: &str = "a request failed with an error of the task queue";
            match (&self, status) {
                (Self::TaskFailed { .. } | Self::WaitTimeout { .. }, _) => {
                    tracing::debug!(error = %self, status, "{SAID}")
                }
                (_, 500) => tracing::error!(error = %self, status, "{SAID}"),
                _ => tracing::warn!(error = %self, status, "{SAID}"),
            }
        }
        let text = hidden.map_or_else(|| self.to_string(), str::to_owned);
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
        for (error, status, is_hidden) in [
            (Error::InvalidArgument { what: "queue", why: "it is empty".into() }, 400, false),
            (Error::NotStorable("constraint shop_secret".into()), 400, true),
            (Error::NotFound(id), 404, false),
            (Error::DuplicateId(id), 409, false),
            (Error::TaskCancelled(id), 409, false),
            (Error::OverLimit { what: "the arguments", setting: "x", size: 2, max: 1, list_bytes: 0 }, 413, false),
            (Error::TaskFailed { id, error_type: "E".into(), message: String::new(), traceback: None }, 500, true),
            (Error::Refused("no".into()), 500, true),
            (Error::Connection("refused".into()), 503, true),
            (Error::QueueUnavailable { waiting: 1, bytes: 1, cause: "away".into() }, 503, true),
            (Error::WaitTimeout { id, seconds: 1.0, state: None, parked: Some("kind `shop::f`".into()) }, 504, true),
        ] {
            assert_eq!(error.http_status(), status, "{error}");
            assert_eq!(error.text_instead(status).is_some(), is_hidden, "{error}");
        }
    }
}
