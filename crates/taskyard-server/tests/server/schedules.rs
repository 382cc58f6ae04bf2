//! Schedules as executed by a running server.

use std::time::{Duration, Instant};

use taskyard_core::client::{Call, Schedule};
use taskyard_core::schedule::{OnConflict, Overlap, RunOutcome, ScheduleRun};
use taskyard_core::store::SchedulePut;
use taskyard_core::{Error, TaskState};

use crate::world::{World, eventually};

/// Far below the servers' poll interval, so that runs within this time were not found by polling.
const SOON: Duration = Duration::from_secs(10);

fn echo() -> Call<String> {
    Call::new("echo", &("tick",))
}

impl World {
    async fn runs(&self, name: &str) -> Vec<ScheduleRun> {
        let mut runs = self.client.schedule_runs(name, 1_000).await.unwrap();
        runs.reverse();
        runs
    }

    async fn enqueued(&self, name: &str) -> usize {
        self.runs(name).await.iter().filter(|run| run.outcome == RunOutcome::Enqueued).count()
    }

    async fn until_enqueued(&self, name: &str, count: usize) {
        eventually(&format!("{count} runs of {name}"), || async { self.enqueued(name).await >= count }).await;
    }
}

#[tokio::test]
async fn its_times_are_kept_and_its_runs_are_history() {
    let world = World::new().await;
    let _server = world.server(|config| config.polling_interval = Duration::from_secs(300)).await;
    // Allowed to overlap: on a busy machine a run may take longer than a second.
    let often = Schedule::every("often", Duration::from_secs(1), echo()).overlap(Overlap::Allow);
    let added = world.client.add_schedule(often).await.unwrap();
    assert_eq!(added.put, SchedulePut::Added);
    let record = world.client.schedule("often").await.unwrap();
    assert_eq!(added.next_at, record.created_at.checked_add(Duration::from_secs(1)).ok());
    eventually("two runs that ended", || async {
        world.runs("often").await.iter().filter(|run| run.state == Some(TaskState::Done)).count() >= 2
    })
    .await;
    let mut least = i128::MAX;
    for (at, run) in world.runs("often").await.iter().take(2).enumerate() {
        let due = record.created_at.checked_add(Duration::from_secs(at as u64 + 1)).unwrap();
        assert_eq!((run.fire_at, run.outcome), (due, RunOutcome::Enqueued));
        let late = run.created_at.duration_since(due).as_millis();
        assert!((0..10_000).contains(&late), "decided {late} ms after its time");
        least = least.min(late);
        let context = world.client.get::<String>(run.task.unwrap()).context().await.unwrap();
        assert_eq!(context["schedule"]["name"], "often");
    }
    // A busy machine may delay one of them.
    assert!(least < 200, "decided at least {least} ms after its time");
}

#[tokio::test]
async fn what_another_process_changes_is_in_force_within_a_second() {
    let world = World::new().await;
    let _server = world.server(|config| config.polling_interval = Duration::from_secs(300)).await;
    let other = taskyard_core::Client::new(world.database.open().await, Default::default());
    // Read by the server long before it is due.
    other.add_schedule(Schedule::new("rare", "@yearly", echo())).await.unwrap();
    let mut least = Duration::MAX;
    for (at, rule) in ["@after 0.3s", "@after 0.2s", "@after 0.1s"].into_iter().enumerate() {
        let began = Instant::now();
        let added = other.add_schedule(Schedule::new("rare", rule, echo())).await.unwrap();
        assert_eq!(added.put, SchedulePut::Replaced);
        world.until_enqueued("rare", at + 1).await;
        assert!(began.elapsed() < SOON, "{rule}: {:?}", began.elapsed());
        least = least.min(began.elapsed());
    }
    assert!(least < Duration::from_millis(1_300), "the quickest took {least:?}");
    other.add_schedule(Schedule::every("often", Duration::from_secs(1), echo())).await.unwrap();
    world.until_enqueued("often", 1).await;
    assert!(other.pause_schedule("often").await.unwrap());
    let paused_at = world.store.now().await.unwrap();
    let began = Instant::now();
    let asked = other.run_schedule("often").await.unwrap();
    eventually("the run asked for", || async {
        world.store.get(&[asked]).await.unwrap()[0].as_ref().unwrap().state == TaskState::Done
    })
    .await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    other.run_schedule("often").await.unwrap();
    assert!(other.resume_schedule("often").await.unwrap());
    world.until_enqueued("often", 4).await;
    let after: Vec<_> =
        world.runs("often").await.into_iter().filter(|run| !run.manual && run.fire_at > paused_at).collect();
    assert!(after.iter().all(|run| run.outcome == RunOutcome::Enqueued), "nothing was missed: {after:#?}");
    assert!(other.remove_schedule("often").await.unwrap());
    assert!(!other.remove_schedule("often").await.unwrap());
    assert_eq!(other.schedule("often").await, Err(Error::UnknownSchedule("often".into())));
}

#[tokio::test]
async fn a_run_may_cancel_the_one_before_it_or_wait_for_it() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let hold = |name: &str| Schedule::<u32>::every(name, Duration::from_secs(1), Call::new("hold", &()));
    world.client.add_schedule(hold("cancels").overlap(Overlap::CancelRunning)).await.unwrap();
    eventually("the first was cancelled and the second runs", || async {
        let runs = world.runs("cancels").await;
        runs.len() >= 2 && runs[0].state == Some(TaskState::Cancelled) && runs[1].outcome == RunOutcome::Enqueued
    })
    .await;
    world.client.remove_schedule("cancels").await.unwrap();
    world.client.add_schedule(hold("waits").overlap(Overlap::QueueOne)).await.unwrap();
    eventually("one waits and a further one is skipped", || async {
        let outcomes: Vec<_> = world.runs("waits").await.iter().map(|run| run.outcome).collect();
        outcomes.starts_with(&[RunOutcome::Enqueued, RunOutcome::Held, RunOutcome::Skipped])
    })
    .await;
    world.stage.open();
    let began = Instant::now();
    world.until_enqueued("waits", 2).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_whose_function_is_gone_is_parked_once_and_the_others_go_on() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let gone = Schedule::<()>::every("gone", Duration::from_secs(1), Call::new("nobody::knows", &()));
    world.client.add_schedule(gone).await.unwrap();
    world.client.add_schedule(Schedule::every("there", Duration::from_secs(1), echo())).await.unwrap();
    world
        .client
        .add_schedule(Schedule::<()>::every("fails", Duration::from_secs(1), Call::new("fail_hard", &())))
        .await
        .unwrap();
    eventually("the later ones are skipped", || async { world.runs("gone").await.len() >= 3 }).await;
    world.until_enqueued("there", 3).await;
    world.until_enqueued("fails", 3).await;
    assert_eq!(world.enqueued("gone").await, 1);
    let task = world.runs("gone").await[0].task.unwrap();
    let record = world.store.get(&[task]).await.unwrap().pop().flatten().unwrap();
    assert_eq!(record.waiting_for.as_deref(), Some("kind `nobody::knows`"));
    assert!(world.client.schedule("fails").await.unwrap().failures >= 2);
}

#[tokio::test]
async fn a_one_off_survives_restarts_and_a_reboot_rule_follows_them() {
    let world = World::new().await;
    let once = || Schedule::after("once", Duration::from_millis(300), echo());
    world.client.add_schedule(once()).await.unwrap();
    world.client.add_schedule(Schedule::new("boot", "@reboot", echo())).await.unwrap();
    for boots in 1..=3 {
        let server = world.server(|_| {}).await;
        world.client.add_schedule(once()).await.unwrap();
        world.until_enqueued("boot", boots).await;
        world.until_enqueued("once", 1).await;
        eventually("they end", || async {
            world.runs("boot").await.iter().chain(&world.runs("once").await).all(|run| run.state.is_some())
        })
        .await;
        server.stop();
        server.wait().await;
    }
    assert_eq!((world.enqueued("once").await, world.enqueued("boot").await), (1, 3));
}

#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let refused = [
        (Schedule::new("a", "61 * * * *", echo()), "61"),
        (Schedule::new("a", ",", echo()), "field"),
        (Schedule::new("a", "0 0 30 2 *", echo()), "February"),
        (Schedule::new("a", "@every 0.5s", echo()), "shortest"),
        (Schedule::new("a", "@after 300y", echo()), "300y"),
        (Schedule::new("a", "@at 2026-12-24T18:00:00", echo()), "offset"),
        (Schedule::new("a", "@daily", echo()).zone("Mars/Base"), "Mars/Base"),
        (Schedule::new("", "@daily", echo()), "empty"),
        (Schedule::new("a", "@daily", echo().delay(Duration::from_secs(1))), "delay"),
        (Schedule::new("a", "@daily", echo().parent_id(taskyard_core::TaskId::generate())), "parents"),
        (Schedule::new("a", "@daily", echo()).runs_max(0), "runs_max"),
        (Schedule::new("a", "@daily", echo()).jitter(Duration::MAX), "hundred years"),
    ];
    for (schedule, word) in refused {
        let error = world.client.add_schedule(schedule).await.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    assert!(world.client.schedules().await.unwrap().is_empty());
    world.client.add_schedule(Schedule::new("a", "@daily", echo())).await.unwrap();
    let twice = Schedule::new("a", "@hourly", echo()).on_conflict(OnConflict::Refuse);
    assert_eq!(world.client.add_schedule(twice).await, Err(Error::DuplicateSchedule("a".into())));
    assert!(!world.client.pause_schedule("nothing").await.unwrap());
    assert_eq!(world.client.run_schedule("nothing").await, Err(Error::UnknownSchedule("nothing".into())));
}
