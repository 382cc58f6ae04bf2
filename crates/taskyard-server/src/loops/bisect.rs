//! Splits a batch that the database refuses, so that one refused item does not hold up the others.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use futures_util::future::BoxFuture;
use taskyard_core::Error;
use taskyard_core::store::Store;

/// Maximum number of refusals without a success (three halvings), after which the database itself is considered faulty.
pub(crate) const PROBES_MAX: usize = 14;

/// Maximum time of a trial write; it has failed if there is no reply by then.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// A write that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub error: Error,
    /// Set if the database is unavailable, so that nothing else can be written either.
    pub away: bool,
}

impl Failed {
    /// Determines whether the database is unavailable after a write that failed with `error`. An error that suggests so
    /// may also concern this one write only, for example if a trigger raises it or a table is in a full tablespace. The
    /// database therefore counts as unavailable only if a trial write fails as well.
    pub async fn with(error: Error, store: &dyn Store) -> Self {
        let away = error.is_about_the_way()
            && match tokio::time::timeout(CHECK_MAX, store.check_writes()).await {
                Ok(Ok(())) => false,
                Ok(Err(error)) => error.is_transient(),
                Err(_) => true,
            };
        Self { error, away }
    }

    /// As [`Self::with`], for the result of a write.
    pub async fn check<R>(answer: Result<R, Error>, store: &dyn Store) -> Result<R, Self> {
        match answer {
            Ok(replies) => Ok(replies),
            Err(error) => Err(Self::with(error, store).await),
        }
    }
}

/// The result of one item.
#[derive(Clone, Debug)]
pub(crate) enum Piece<R> {
    /// The item was written.
    Written(R),
    /// The item was not written; the error is that of the smallest piece that contained it.
    Refused {
        error: Error,
        /// True if that piece consisted of the item alone.
        alone: bool,
    },
}

/// Halves a refused batch until each piece is either written or a single item that is refused by itself. Stops early if
/// the database is unavailable, or if `probes_max` pieces were refused and none was written.
pub(crate) async fn write<'a, R: Clone>(
    items: usize,
    refused: Failed,
    probes_max: usize,
    mut attempt: impl FnMut(Range<usize>) -> BoxFuture<'a, Result<Vec<R>, Failed>>,
) -> Vec<Piece<R>> {
    let alone = items == 1 && !refused.away;
    let mut answers: Vec<Piece<R>> = vec![Piece::Refused { error: refused.error, alone }; items];
    if refused.away {
        return answers;
    }
    let (mut written, mut refusals) = (false, 0);
    let mut open: VecDeque<Range<usize>> = VecDeque::new();
    halve(&mut open, 0..items);
    while let Some(range) = open.pop_front() {
        match attempt(range.clone()).await {
            Ok(replies) => {
                written = true;
                for (answer, reply) in answers[range].iter_mut().zip(replies) {
                    *answer = Piece::Written(reply);
                }
            }
            Err(Failed { error, away }) => {
                let alone = range.len() == 1 && !away;
                refusals += 1;
                answers[range.clone()].fill(Piece::Refused { error, alone });
                if away || !written && refusals >= probes_max {
                    break;
                }
                halve(&mut open, range);
            }
        }
    }
    answers
}

fn halve(open: &mut VecDeque<Range<usize>>, range: Range<usize>) {
    if range.len() > 1 {
        let middle = range.start + range.len() / 2;
        open.push_back(range.start..middle);
        open.push_back(middle..range.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str, away: bool) -> Failed {
        Failed { error: Error::Connection(text.into()), away }
    }

    async fn try_all(count: usize, is_bad: impl Fn(usize) -> bool, probes_max: usize) -> (Vec<Piece<usize>>, usize) {
        let mut calls = 0;
        let answers = write(count, failed("all", false), probes_max, |range| {
            calls += 1;
            let bad = range.clone().any(&is_bad);
            Box::pin(async move { if bad { Err(failed("bad", false)) } else { Ok(range.collect()) } })
        })
        .await;
        (answers, calls)
    }

    #[tokio::test]
    async fn one_bad_item_holds_up_no_other() {
        let (answers, calls) = try_all(1_000, |at| at == 377, PROBES_MAX).await;
        for (at, answer) in answers.iter().enumerate() {
            match answer {
                Piece::Written(reply) => assert!(*reply == at && at != 377),
                Piece::Refused { alone, .. } => assert!(*alone && at == 377, "{at}"),
            }
        }
        assert!(calls <= 20, "{calls}");
    }

    #[tokio::test]
    async fn a_database_that_refuses_all_is_not_asked_a_thousand_times() {
        let (answers, calls) = try_all(1_000, |_| true, PROBES_MAX).await;
        assert!(answers.iter().all(|answer| matches!(answer, Piece::Refused { alone: false, .. })));
        assert_eq!(calls, PROBES_MAX);
        let (answers, _) = try_all(1_000, |_| true, usize::MAX).await;
        assert!(answers.iter().all(|answer| matches!(answer, Piece::Refused { alone: true, .. })));
    }

    #[tokio::test]
    async fn nothing_is_tried_further_once_the_database_is_away() {
        let mut calls = 0;
        let answers: Vec<Piece<usize>> = write(100, failed("all", false), PROBES_MAX, |_| {
            calls += 1;
            Box::pin(async { Err(failed("away", true)) })
        })
        .await;
        assert_eq!(calls, 1);
        assert!(answers.iter().all(|answer| matches!(answer, Piece::Refused { alone: false, .. })));
        let gone = write(1, failed("away", true), PROBES_MAX, |_| -> BoxFuture<'_, Result<Vec<usize>, Failed>> {
            unreachable!("it is away")
        });
        assert!(matches!(gone.await[..], [Piece::Refused { alone: false, .. }]));
    }
}
