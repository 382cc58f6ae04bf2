//! SQL functions and views of the database, in dependency order, and the number of their build.
//!
//! Builds are numbered by `sql/builds`: one line for each text that the functions and views ever had, its hash, oldest
//! first. A changed text is appended there (`cargo dev tidy` prints the line), so that its number is higher than all
//! before it. Lines are never removed; a merge keeps the lines of both sides and appends that of the merged text.

use std::sync::OnceLock;

/// Hashes of all texts so far.
const BUILDS: &str = include_str!("sql/builds");

/// Name in a migration report for the replacement of the functions.
pub(crate) const NAME: &str = "functions";

/// Sources of the functions.
pub(crate) const FUNCTIONS: &[&str] = &[
    include_str!("sql/clock/now.sql"),
    include_str!("sql/clock/set.sql"),
    include_str!("sql/clock/until.sql"),
    include_str!("sql/setting/notify.sql"),
    include_str!("sql/setting/limits.sql"),
    include_str!("sql/task/uuid7.sql"),
    include_str!("sql/unique_key/take.sql"),
    include_str!("sql/unique_key/release.sql"),
    include_str!("sql/kind/groups.sql"),
    include_str!("sql/ready/insert.sql"),
    include_str!("sql/ready/turn.sql"),
    include_str!("sql/queue/rate.sql"),
    include_str!("sql/queue/free.sql"),
    include_str!("sql/ready/choose.sql"),
    include_str!("sql/task/ended.sql"),
    include_str!("sql/task/detach.sql"),
    include_str!("sql/task/set_aside.sql"),
    include_str!("sql/cascade/close.sql"),
    include_str!("sql/cascade/fall.sql"),
    include_str!("sql/cascade/revive.sql"),
    include_str!("sql/cascade/tell.sql"),
    include_str!("sql/cascade/untold.sql"),
    include_str!("sql/cascade/run.sql"),
    include_str!("sql/cascade/step.sql"),
    include_str!("sql/task/lock_parents.sql"),
    include_str!("sql/task/add.sql"),
    include_str!("sql/task/added.sql"),
    include_str!("sql/task/claim.sql"),
    include_str!("sql/claim/read.sql"),
    include_str!("sql/claim/held.sql"),
    include_str!("sql/claim/close.sql"),
    include_str!("sql/task/record.sql"),
    include_str!("sql/task/unlocked.sql"),
    include_str!("sql/kind/refuse.sql"),
    include_str!("sql/kind/regroup.sql"),
    include_str!("sql/task/finish_done.sql"),
    include_str!("sql/task/finish.sql"),
    include_str!("sql/task/cancel.sql"),
    include_str!("sql/task/cancel_because.sql"),
    include_str!("sql/task/stop.sql"),
    include_str!("sql/task/retry.sql"),
    include_str!("sql/task/set_priority.sql"),
    include_str!("sql/task/edit.sql"),
    include_str!("sql/task/expire.sql"),
    include_str!("sql/task/purge.sql"),
    include_str!("sql/task/prune.sql"),
    include_str!("sql/task/prune_surplus.sql"),
    include_str!("sql/dead/take.sql"),
    include_str!("sql/dead/told.sql"),
    include_str!("sql/queue/settle.sql"),
    include_str!("sql/queue/set_apart.sql"),
    include_str!("sql/queue/configure.sql"),
    include_str!("sql/queue/set_ageing.sql"),
    include_str!("sql/queue/age.sql"),
    include_str!("sql/task/each.sql"),
    include_str!("sql/claim/refused.sql"),
    include_str!("sql/task/promote.sql"),
    include_str!("sql/task/finals.sql"),
    include_str!("sql/task/status.sql"),
    include_str!("sql/server/timeline.sql"),
    include_str!("sql/ready/compare.sql"),
    include_str!("sql/server/enter.sql"),
    include_str!("sql/server/beat.sql"),
    include_str!("sql/server/leave.sql"),
    include_str!("sql/server/rescue.sql"),
    include_str!("sql/waiting/parked.sql"),
    include_str!("sql/waiting/unpark.sql"),
    include_str!("sql/waiting/settle.sql"),
    include_str!("sql/task/enqueue.sql"),
    include_str!("sql/task/complete_in.sql"),
    include_str!("sql/schedule/changed.sql"),
    include_str!("sql/schedule/put.sql"),
    include_str!("sql/schedule/record.sql"),
    include_str!("sql/schedule/sql.sql"),
];

/// Removes the default privilege of all roles to call the functions: only the owner may, unless it grants the right.
pub(crate) const REVOKE: &str = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA taskyard FROM PUBLIC";

/// Pure functions called by the views; every role that may read a view may call them.
pub(crate) const SHOWN: &str = include_str!("sql/view/shown.sql");

/// The views for queries of users and applications.
pub(crate) const VIEWS: &str = include_str!("sql/view/views.sql");

/// Names of the views.
pub(crate) const VIEW_NAMES: [&str; 4] =
    ["queued_tasks", "queued_task_logs", "queued_task_workers", "queued_task_attempts"];

/// A text of the functions and views: its number among all builds, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Build {
    pub number: i64,
    pub hash: String,
}

impl Build {
    /// Returns the build recorded in the database; `None` if nothing is recorded.
    pub fn stored(number: Option<String>, hash: Option<String>) -> Option<Self> {
        Some(Self { number: number?.parse().ok()?, hash: hash? })
    }

    /// Returns whether this build should be installed in place of another: a newer one always, and one of the same
    /// number if its text differs (two states of a development; releases never share a number).
    pub fn replaces(&self, installed: &Self) -> bool {
        self.number > installed.number || (self.number == installed.number && self.hash != installed.hash)
    }
}

/// Returns the build of this program.
pub(crate) fn build() -> &'static Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    BUILD.get_or_init(|| {
        let text = [FUNCTIONS.concat().as_str(), SHOWN, VIEWS].concat();
        Build { number: BUILDS.lines().count() as i64, hash: checksum(&text) }
    })
}

/// Computes the FNV-1a hash of a text. Detects accidental changes, not deliberate ones.
pub(crate) fn checksum(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_build_is_this_text() {
        assert_eq!(
            BUILDS.lines().last(),
            Some(build().hash.as_str()),
            "append the hash to crates/taskyard-postgres/src/sql/builds"
        );
    }

    #[test]
    fn a_newer_build_replaces_an_older_one_and_not_the_other_way_round() {
        let build = |number, hash: &str| Build { number, hash: hash.into() };
        assert!(build(3, "c").replaces(&build(2, "b")));
        assert!(!build(2, "b").replaces(&build(3, "c")));
        assert!(!build(3, "c").replaces(&build(3, "c")));
        assert!(build(3, "d").replaces(&build(3, "c")));
        // A text that was restored counts as newer than the texts between its two builds.
        assert!(build(3, "a").replaces(&build(1, "a")));
    }
}
