//! Schedules: rows with a version, decisions that apply once, and their history.

use std::time::Duration;

use taskyard_core::context::Context;
use taskyard_core::schedule::plan::{plan, plan_manual};
use taskyard_core::schedule::{
    CatchUp, DueSchedule, NewSchedule, OnConflict, Overlap, RUNS_KEPT, RunOutcome, ScheduleRun, Tick, TickRun,
};
use taskyard_core::store::SchedulePut;
use taskyard_core::task::{ExtraOptions, NewTask, Unique, UniqueHold};
use taskyard_core::{Error, Limits, RetryPolicy, TaskId, TaskState, Timestamp};

use super::Harness;
use super::harness::TestServer;
use crate::factory::{LEASE, task};

const HOUR: Duration = Duration::from_secs(3_600);

fn every(name: &str, rule: &str) -> NewSchedule {
    let mut new = NewSchedule::new(name, rule, task());
    new.check(&Limits::default()).unwrap();
    new
}

async fn put(harness: &Harness, new: &NewSchedule) -> SchedulePut {
    harness.store.schedule_put(new, OnConflict::Replace).await.unwrap()
}

async fn due(harness: &Harness, name: &str) -> DueSchedule {
    harness.store.schedule(name).await.unwrap().unwrap_or_else(|| panic!("schedule {name} is there"))
}

async fn runs(harness: &Harness, name: &str) -> Vec<ScheduleRun> {
    harness.store.schedule_runs(name, None, 10_000).await.unwrap()
}

/// Acts as a server: reads and decides until nothing is left.
async fn look(harness: &Harness) -> usize {
    let mut applied = 0;
    for _ in 0..1_000 {
        let look = harness.store.schedule_look(100).await.unwrap();
        let ticks: Vec<Tick> = look.due.iter().filter_map(|due| plan(due, look.now, &mut || 0.5)).collect();
        if ticks.is_empty() {
            return applied;
        }
        applied += harness.store.schedule_tick(&ticks).await.unwrap().iter().flatten().count();
    }
    panic!("schedules are never through");
}

async fn advance(harness: &Harness, by: Duration) {
    harness.advance(by).await;
    look(harness).await;
}

/// Runs all runnable tasks, each to this end.
async fn run_all(harness: &Harness, server: &TestServer, state: TaskState) -> Vec<TaskId> {
    let claimed = server.claim(100).await;
    for claimed in &claimed {
        match state {
            TaskState::Done => server.done(claimed).await,
            _ => server.fail(claimed).await,
        }
    }
    look(harness).await;
    claimed.into_iter().map(|claimed| claimed.id).collect()
}

pub(super) async fn every_option_reads_back(harness: Harness) {
    let now = harness.freeze().await;
    let new = NewSchedule {
        zone: "Europe/Berlin".into(),
        task: NewTask {
            name: Some("the report".into()),
            queue: "reports".into(),
            priority: -7,
            context: Some(r#"{"a":{"b":[1,2.5,"ü"]}}"#.into()),
            expires: Some(HOUR),
            retry: RetryPolicy { max_retries: 9, only: vec!["E".into()], ..RetryPolicy::default() },
            timeout: Some(HOUR * 2),
            unique: Some(Unique { key: "k".into(), hold: UniqueHold::For(HOUR) }),
            auto_remove: true,
            at_most_once: true,
            tags: vec!["a".into(), "b".into()],
            extra: ExtraOptions::examples(),
            ..NewTask::new("app::report", br#"{"args": [ 1e400 ], "kwargs": {}}"#.to_vec())
        },
        overlap: Overlap::CancelRunning,
        catch_up: CatchUp::All,
        catch_up_window: HOUR * 3,
        jitter: Duration::from_micros(1_500_001),
        starts_at: Some(now),
        ends_at: now.checked_add(HOUR * 24 * 365).ok(),
        runs_max: Some(u32::MAX),
        pause_after_failures: Some(3),
        ..NewSchedule::new("nightly “report”", "0 3 * * MON-FRI", task())
    };
    assert_eq!(put(&harness, &new).await, SchedulePut::Added);
    let DueSchedule { record, open } = due(&harness, &new.name).await;
    let mut read = record.definition.clone();
    read.task.id = new.task.id;
    assert_eq!(read, new);
    assert!(open.is_empty());
    assert_eq!((record.created_at, record.planned_from), (now, now));
    assert!(!record.planned && !record.paused && !record.ended && record.problem.is_none());
    assert_eq!((record.next_at, record.last_at, record.runs, record.failures), (None, None, 0, 0));
}

pub(super) async fn a_name_that_is_taken_is_refused_kept_or_replaced(harness: Harness) {
    harness.freeze().await;
    let first = every("a", "0 * * * *");
    assert_eq!(put(&harness, &first).await, SchedulePut::Added);
    let second = every("a", "30 * * * *");
    let refused = harness.store.schedule_put(&second, OnConflict::Refuse).await;
    assert_eq!(refused, Err(Error::DuplicateSchedule("a".into())));
    assert_eq!(harness.store.schedule_put(&second, OnConflict::Keep).await, Ok(SchedulePut::Kept));
    look(&harness).await;
    let before = due(&harness, "a").await;
    assert_eq!(put(&harness, &first).await, SchedulePut::Kept);
    assert_eq!(due(&harness, "a").await, before, "an equal one changes nothing");
    assert_eq!(put(&harness, &second).await, SchedulePut::Replaced);
    let after = due(&harness, "a").await;
    assert!(after.record.version > before.record.version && !after.record.planned);
    assert_eq!(after.record.definition.rule, "30 * * * *");
    look(&harness).await;
    assert_ne!(due(&harness, "a").await.record.next_at, before.record.next_at);
}

pub(super) async fn they_are_listed_by_name_in_pages(harness: Harness) {
    for name in ["b", "a", "ä", "Z", "c"] {
        put(&harness, &every(name, "@daily")).await;
    }
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = harness.store.schedules(after.as_deref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.record.definition.name.clone());
        names.extend(page.into_iter().map(|due| due.record.definition.name));
    }
    assert_eq!(names, ["Z", "a", "b", "c", "ä"]);
    assert!(harness.store.schedule("nothing").await.unwrap().is_none());
}

pub(super) async fn a_look_finds_what_is_due_and_says_when_the_next_is(harness: Harness) {
    harness.freeze().await;
    let nothing = harness.store.schedule_look(10).await.unwrap();
    assert!(nothing.due.is_empty() && nothing.next_due.is_none() && !nothing.open);
    put(&harness, &every("a", "@every 1h")).await;
    put(&harness, &every("b", "@every 2h")).await;
    let unplanned = harness.store.schedule_look(10).await.unwrap();
    assert_eq!(unplanned.due.len(), 2, "a new row is to be planned");
    look(&harness).await;
    let planned = harness.store.schedule_look(10).await.unwrap();
    assert!(planned.due.is_empty());
    assert_eq!(planned.next_due, Some(HOUR));
    harness.advance(HOUR - Duration::from_micros(1)).await;
    assert_eq!(harness.store.schedule_look(10).await.unwrap().next_due, Some(Duration::from_micros(1)));
    harness.advance(Duration::from_micros(1)).await;
    let now = harness.store.schedule_look(10).await.unwrap();
    assert_eq!(now.due.iter().map(|due| due.record.definition.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(now.now, harness.store.now().await.unwrap());
}

pub(super) async fn a_tick_adds_its_task_and_its_history(harness: Harness) {
    let start = harness.freeze().await;
    put(&harness, &NewSchedule { task: NewTask { priority: 5, ..task() }, ..every("a", "@every 1h") }).await;
    look(&harness).await;
    advance(&harness, HOUR).await;
    let fire_at = start.checked_add(HOUR).unwrap();
    let history = runs(&harness, "a").await;
    assert_eq!(history.len(), 1);
    let run = &history[0];
    assert_eq!((run.fire_at, run.count, run.outcome, run.manual), (fire_at, 1, RunOutcome::Enqueued, false));
    let id = run.task.unwrap();
    let record = harness.record(id).await;
    assert_eq!((record.state, record.priority, record.kind.as_str()), (TaskState::Enqueued, 5, "testkit::body"));
    let context = harness.store.context(id).await.unwrap().unwrap();
    let context = Context::from_bytes(&context).unwrap();
    assert_eq!(context.get("schedule.name").unwrap(), "a");
    assert_eq!(context.get("schedule.fire_at").unwrap(), fire_at.to_string().as_str());
    let open = due(&harness, "a").await;
    assert_eq!((open.open[0].task, open.open[0].state), (Some(id), Some(TaskState::Enqueued)));
    assert_eq!((open.record.runs, open.record.last_at), (1, Some(fire_at)));
    assert!(harness.store.schedule_look(10).await.unwrap().open);
    let server = harness.server().await;
    assert_eq!(run_all(&harness, &server, TaskState::Failed).await, [id]);
    let settled = &runs(&harness, "a").await[0];
    assert_eq!((settled.state, settled.finished_at), (Some(TaskState::Failed), Some(fire_at)));
    assert_eq!(settled.error.as_ref().unwrap().message, "it broke");
    let record = due(&harness, "a").await.record;
    assert_eq!((record.failures, record.last_state), (1, Some(TaskState::Failed)));
    assert!(!harness.store.schedule_look(10).await.unwrap().open);
}

pub(super) async fn a_tick_on_an_older_version_changes_nothing(harness: Harness) {
    harness.freeze().await;
    put(&harness, &every("a", "@every 1h")).await;
    look(&harness).await;
    let now = harness.advance(HOUR).await;
    let seen = due(&harness, "a").await;
    let [first, second] = [0.1, 0.2].map(|draw| plan(&seen, now, &mut || draw).unwrap());
    let applied = harness.store.schedule_tick(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(applied[0].as_ref().map(Vec::len), Some(1));
    let before = due(&harness, "a").await;
    assert_eq!(harness.store.schedule_tick(std::slice::from_ref(&second)).await.unwrap(), [None]);
    assert_eq!(harness.store.schedule_tick(&[first]).await.unwrap(), [None], "nor the same one again");
    assert_eq!(due(&harness, "a").await, before);
    assert!(!harness.exists(second.tasks().next().unwrap().id).await);
    // Every other write of the row invalidates the decision, too.
    let now = harness.advance(HOUR).await;
    let tick = plan(&due(&harness, "a").await, now, &mut || 0.0).unwrap();
    assert!(harness.store.schedule_set_paused("a", true).await.unwrap());
    assert_eq!(harness.store.schedule_tick(&[tick]).await.unwrap(), [None]);
    harness.store.schedule_remove("a").await.unwrap();
    let now = harness.advance(HOUR).await;
    let tick = plan(&seen, now, &mut || 0.0).unwrap();
    assert_eq!(harness.store.schedule_tick(&[tick]).await.unwrap(), [None]);
    assert_eq!(harness.store.status().await.unwrap().by_state.iter().sum::<u64>(), 1);
}

pub(super) async fn of_concurrent_deciders_one_enqueues(harness: Harness) {
    harness.freeze().await;
    for number in 0..20 {
        put(&harness, &every(&format!("s{number}"), "@every 1h")).await;
    }
    look(&harness).await;
    for round in 1..=5_u64 {
        harness.advance(HOUR).await;
        let deciders: Vec<_> = (0..8)
            .map(|_| {
                let harness = harness.clone();
                tokio::spawn(async move { look(&harness).await })
            })
            .collect();
        for decider in deciders {
            decider.await.unwrap();
        }
        for number in 0..20 {
            let name = format!("s{number}");
            let history = runs(&harness, &name).await;
            assert_eq!(history.len() as u64, round, "{history:?}");
            assert_eq!(due(&harness, &name).await.record.runs, 1, "the first one has not ended");
        }
    }
    assert_eq!(harness.store.status().await.unwrap().by_state[TaskState::Enqueued as usize], 20);
}

pub(super) async fn a_held_run_begins_when_the_one_before_it_has_ended(harness: Harness) {
    harness.freeze().await;
    put(&harness, &NewSchedule { overlap: Overlap::QueueAll, ..every("a", "@every 1h") }).await;
    look(&harness).await;
    for _ in 0..3 {
        advance(&harness, HOUR).await;
    }
    let held = runs(&harness, "a").await;
    assert_eq!(held.iter().filter(|run| run.outcome == RunOutcome::Held).count(), 2);
    let mut begun = Vec::new();
    for _ in 0..3 {
        let fresh = harness.server().await;
        let claimed = fresh.claim(10).await;
        let claimed = match claimed.as_slice() {
            [one] => one.clone(),
            other => panic!("one at a time, not {}", other.len()),
        };
        fresh.done(&claimed).await;
        begun.push(claimed.id);
        look(&harness).await;
    }
    let history = runs(&harness, "a").await;
    let tasks: Vec<TaskId> = history.iter().rev().filter_map(|run| run.task).collect();
    assert_eq!(tasks, begun, "in the order of their times");
    assert!(history.iter().all(|run| run.state == Some(TaskState::Done)));
}

pub(super) async fn a_pause_lets_times_pass_and_a_resume_goes_on_from_now(harness: Harness) {
    harness.freeze().await;
    put(&harness, &every("a", "@every 1h")).await;
    look(&harness).await;
    assert!(harness.store.schedule_set_paused("a", true).await.unwrap());
    advance(&harness, HOUR * 10).await;
    assert!(runs(&harness, "a").await.is_empty());
    assert!(due(&harness, "a").await.record.paused);
    assert!(harness.store.schedule_set_paused("a", false).await.unwrap());
    look(&harness).await;
    assert!(runs(&harness, "a").await.is_empty());
    advance(&harness, HOUR).await;
    assert_eq!(runs(&harness, "a").await.len(), 1);
    assert!(!harness.store.schedule_set_paused("nothing", true).await.unwrap());
}

pub(super) async fn a_one_off_is_kept_and_does_not_run_again(harness: Harness) {
    harness.freeze().await;
    let new = every("once", "@after 30m");
    put(&harness, &new).await;
    look(&harness).await;
    let planned = due(&harness, "once").await.record.next_at;
    // Declared again while it waits, as every process of an application does when it starts.
    harness.advance(HOUR / 4).await;
    assert_eq!(put(&harness, &new).await, SchedulePut::Kept);
    assert_eq!(due(&harness, "once").await.record.next_at, planned);
    harness.store.schedule_set_paused("once", true).await.unwrap();
    harness.store.schedule_set_paused("once", false).await.unwrap();
    look(&harness).await;
    assert_eq!(due(&harness, "once").await.record.next_at, planned, "a pause does not move it");
    advance(&harness, HOUR / 4).await;
    assert_eq!(run_all(&harness, &harness.server().await, TaskState::Done).await.len(), 1);
    for _ in 0..3 {
        put(&harness, &new).await;
        put(&harness, &NewSchedule { task: NewTask { queue: "other".into(), ..task() }, ..new.clone() }).await;
        advance(&harness, HOUR).await;
    }
    assert_eq!(runs(&harness, "once").await.len(), 1);
    assert!(due(&harness, "once").await.record.ended);
    put(&harness, &every("once", "@after 10m")).await;
    advance(&harness, HOUR).await;
    assert_eq!(runs(&harness, "once").await.len(), 2, "another rule is another one-off");
}

pub(super) async fn a_run_asked_for_runs_beside_all_others(harness: Harness) {
    let now = harness.freeze().await;
    put(&harness, &every("a", "@yearly")).await;
    look(&harness).await;
    harness.store.schedule_set_paused("a", true).await.unwrap();
    for _ in 0..3 {
        let tick = plan_manual(&due(&harness, "a").await, now);
        assert!(harness.store.schedule_tick(&[tick]).await.unwrap()[0].is_some());
    }
    let history = runs(&harness, "a").await;
    assert_eq!(history.iter().filter(|run| run.manual && run.task.is_some()).count(), 3);
    assert!(due(&harness, "a").await.record.paused);
}

pub(super) async fn a_unique_key_gives_the_existing_task(harness: Harness) {
    harness.freeze().await;
    let unique = || Some(Unique { key: "k".into(), hold: UniqueHold::UntilFinished });
    let holder = harness.add(NewTask { unique: unique(), ..task() }).await;
    let new = NewSchedule { task: NewTask { unique: unique(), ..task() }, ..every("a", "@every 1h") };
    put(&harness, &new).await;
    look(&harness).await;
    advance(&harness, HOUR).await;
    assert_eq!(runs(&harness, "a").await[0].task, Some(holder));
    assert_eq!(harness.store.status().await.unwrap().by_state.iter().sum::<u64>(), 1);
}

pub(super) async fn a_removed_schedule_leaves_its_tasks(harness: Harness) {
    harness.freeze().await;
    put(&harness, &every("a", "@every 1h")).await;
    look(&harness).await;
    advance(&harness, HOUR).await;
    let task = runs(&harness, "a").await[0].task.unwrap();
    assert!(harness.store.schedule_remove("a").await.unwrap());
    assert!(!harness.store.schedule_remove("a").await.unwrap());
    assert!(harness.store.schedule("a").await.unwrap().is_none() && runs(&harness, "a").await.is_empty());
    advance(&harness, HOUR * 5).await;
    harness.assert_state(task, TaskState::Enqueued).await;
}

pub(super) async fn history_is_bounded_and_keeps_what_is_open(harness: Harness) {
    let now = harness.freeze().await;
    put(&harness, &every("a", "@yearly")).await;
    look(&harness).await;
    let tick = plan_manual(&due(&harness, "a").await, now);
    harness.store.schedule_tick(&[tick]).await.unwrap();
    let skipped = |second: i64| TickRun {
        fire_at: Timestamp::from_second(second).unwrap(),
        until: None,
        count: 1,
        outcome: RunOutcome::Skipped,
        manual: false,
        task: None,
    };
    for round in 0..4 {
        let seen = due(&harness, "a").await;
        let mut tick = plan_manual(&seen, now);
        tick.runs = (0..400).map(|second| skipped(round * 400 + second)).collect();
        assert!(harness.store.schedule_tick(&[tick]).await.unwrap()[0].is_some());
    }
    let history = runs(&harness, "a").await;
    assert_eq!(history.len(), RUNS_KEPT + 1);
    assert_eq!(history.last().unwrap().outcome, RunOutcome::Enqueued, "the open one is kept");
    assert_eq!(history[0].fire_at.as_second(), 1_599);
    let page = harness.store.schedule_runs("a", Some(history[9].sequence), 5).await.unwrap();
    assert_eq!(page, history[10..15]);
}

pub(super) async fn what_changes_rings(harness: Harness) {
    harness.freeze().await;
    let mut listener = harness.store.notifications().schedules.listen();
    let notified = async |listener: &mut taskyard_core::notifications::Listener, why: &str| {
        assert!(tokio::time::timeout(Duration::from_secs(5), listener.notified()).await.is_ok(), "no bell: {why}");
        *listener = harness.store.notifications().schedules.listen();
    };
    put(&harness, &every("a", "@every 1h")).await;
    notified(&mut listener, "a schedule was stored").await;
    harness.store.schedule_set_paused("a", true).await.unwrap();
    notified(&mut listener, "it was paused").await;
    harness.store.schedule_set_paused("a", false).await.unwrap();
    notified(&mut listener, "it was resumed").await;
    harness.advance(LEASE).await;
    notified(&mut listener, "the test clock was moved").await;
}
