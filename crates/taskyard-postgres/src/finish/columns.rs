//! Ends of attempts, contexts and log lines as columns, for one statement.

use std::borrow::Cow;

use taskyard_core::store::{Finish, Outcome};
use taskyard_core::task::LogLine;
use taskyard_core::{TaskId, Token};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::text::{clean, micros, reason};

/// Log lines as columns; all columns are absent if there are no lines.
#[derive(Default)]
pub(super) struct Logs<'a> {
    pub ids: Option<Vec<Uuid>>,
    pub tokens: Option<Vec<Uuid>>,
    pub levels: Option<Vec<i16>>,
    pub loggers: Option<Vec<Cow<'a, str>>>,
    pub messages: Option<Vec<Cow<'a, str>>>,
    pub fields: Option<Vec<Option<&'a [u8]>>>,
    pub traces: Option<Vec<Option<Cow<'a, str>>>>,
}

impl<'a> Logs<'a> {
    pub fn of(items: impl Iterator<Item = (TaskId, Token, &'a [LogLine])>) -> Self {
        let lines: Vec<(TaskId, Token, &LogLine)> =
            items.flat_map(|(id, token, lines)| lines.iter().map(move |line| (id, token, line))).collect();
        if lines.is_empty() {
            return Self::default();
        }
        Self {
            ids: Some(lines.iter().map(|(id, ..)| id.0).collect()),
            tokens: Some(lines.iter().map(|(_, token, _)| token.0).collect()),
            levels: Some(lines.iter().map(|(.., line)| line.level).collect()),
            loggers: Some(lines.iter().map(|(.., line)| clean(&line.logger)).collect()),
            messages: Some(lines.iter().map(|(.., line)| clean(&line.message)).collect()),
            fields: Some(lines.iter().map(|(.., line)| line.fields.as_deref()).collect()),
            traces: Some(lines.iter().map(|(.., line)| line.traceback.as_deref().map(clean)).collect()),
        }
    }
}

/// Ends of any kind as columns.
pub(super) struct Any<'a> {
    ids: Vec<Uuid>,
    tokens: Vec<Uuid>,
    codes: Vec<i16>,
    results: Vec<Option<&'a [u8]>>,
    after_us: Vec<Option<i64>>,
    types: Vec<Option<Cow<'a, str>>>,
    messages: Vec<Option<Cow<'a, str>>>,
    traces: Vec<Option<Cow<'a, str>>>,
    contexts: Option<Vec<Option<&'a [u8]>>>,
    logs: Logs<'a>,
    closed: &'a [Uuid],
}

impl<'a> Any<'a> {
    pub fn of(items: impl Iterator<Item = &'a Finish> + Clone, closed: &'a [Uuid]) -> Self {
        let mut any = Self {
            ids: items.clone().map(|item| item.id.0).collect(),
            tokens: items.clone().map(|item| item.token.0).collect(),
            codes: Vec::new(),
            results: items.clone().map(|item| result(&item.outcome)).collect(),
            after_us: Vec::new(),
            types: Vec::new(),
            messages: Vec::new(),
            traces: Vec::new(),
            contexts: contexts(items.clone().map(|item| item.context.as_deref())),
            logs: Logs::of(items.clone().map(|item| (item.id, item.token, item.logs.as_slice()))),
            closed,
        };
        for item in items {
            let (code, after, failure) = match &item.outcome {
                Outcome::Done { .. } => (0, None, None),
                Outcome::Failed(failure) => (1, None, Some(failure)),
                Outcome::Retry { after, error } => (2, Some(micros(*after)), Some(error)),
                Outcome::Snooze { after } => (3, Some(micros(*after)), None),
                Outcome::Released => (4, None, None),
                Outcome::Parked { .. } => (5, None, None),
                Outcome::Refused { .. } => (12, None, None),
                Outcome::Crashed(failure) => (6, None, Some(failure)),
                Outcome::Beside => (7, None, None),
                Outcome::Interrupted => (8, None, None),
                Outcome::Expired => (9, None, None),
                Outcome::CutShort => (10, None, None),
                Outcome::Lost(failure) => (11, None, Some(failure)),
            };
            any.codes.push(code);
            any.after_us.push(after);
            any.types.push(match &item.outcome {
                Outcome::Refused { build, .. } => Some(clean(build)),
                _ => failure.map(|failure| clean(&failure.error_type)),
            });
            any.messages.push(match &item.outcome {
                Outcome::Parked { reason: text } | Outcome::Refused { reason: text, .. } => Some(reason(text)),
                _ => failure.map(|failure| clean(&failure.message)),
            });
            any.traces.push(failure.and_then(|failure| failure.traceback.as_deref()).map(clean));
        }
        any
    }

    pub fn params(&self) -> [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 17] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.tokens, Type::UUID_ARRAY),
            (&self.codes, Type::INT2_ARRAY),
            (&self.results, Type::BYTEA_ARRAY),
            (&self.after_us, Type::INT8_ARRAY),
            (&self.types, Type::TEXT_ARRAY),
            (&self.messages, Type::TEXT_ARRAY),
            (&self.traces, Type::TEXT_ARRAY),
            (&self.contexts, Type::BYTEA_ARRAY),
            (&self.logs.ids, Type::UUID_ARRAY),
            (&self.logs.tokens, Type::UUID_ARRAY),
            (&self.logs.levels, Type::INT2_ARRAY),
            (&self.logs.loggers, Type::TEXT_ARRAY),
            (&self.logs.messages, Type::TEXT_ARRAY),
            (&self.logs.fields, Type::BYTEA_ARRAY),
            (&self.logs.traces, Type::TEXT_ARRAY),
            (&self.closed, Type::UUID_ARRAY),
        ]
    }
}

pub(super) fn result(outcome: &Outcome) -> Option<&[u8]> {
    if let Outcome::Done { result } = outcome { Some(result) } else { None }
}

pub(super) fn contexts<'a>(contexts: impl Iterator<Item = Option<&'a [u8]>>) -> Option<Vec<Option<&'a [u8]>>> {
    let contexts: Vec<_> = contexts.collect();
    contexts.iter().any(Option::is_some).then_some(contexts)
}
