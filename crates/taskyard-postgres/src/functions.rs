//! The functions that a migration installs, in an order in which each finds what it names.

/// Their sources.
pub(crate) const FUNCTIONS: &[&str] = &[
    include_str!("sql/clock/now.sql"),
    include_str!("sql/clock/set.sql"),
    include_str!("sql/setting/notify.sql"),
    include_str!("sql/task/uuid7.sql"),
    include_str!("sql/unique_key/take.sql"),
    include_str!("sql/unique_key/release.sql"),
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
    include_str!("sql/cascade/run.sql"),
    include_str!("sql/cascade/step.sql"),
    include_str!("sql/task/lock_parents.sql"),
    include_str!("sql/task/add.sql"),
    include_str!("sql/task/claim.sql"),
    include_str!("sql/claim/read.sql"),
    include_str!("sql/task/record.sql"),
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
    include_str!("sql/task/promote.sql"),
    include_str!("sql/task/finals.sql"),
    include_str!("sql/task/status.sql"),
    include_str!("sql/server/timeline.sql"),
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

/// Nobody but the owner calls a function of ours, unless granted.
pub(crate) const REVOKE: &str = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA taskyard FROM PUBLIC";

/// Pure functions that the views call; whoever may read a view may call them.
pub(crate) const SHOWN: &str = include_str!("sql/view/shown.sql");

/// The views of the documents.
pub(crate) const VIEWS: &str = include_str!("sql/view/views.sql");

/// Their names.
pub(crate) const VIEW_NAMES: [&str; 4] =
    ["queued_tasks", "queued_task_logs", "queued_task_workers", "queued_task_attempts"];
