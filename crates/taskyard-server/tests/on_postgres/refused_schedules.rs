//! The database refuses the decisions about one schedule, with various codes: the other schedules continue, and the
//! refused one runs once the cause is gone.

use std::time::Duration;

use taskyard_core::client::{Call, Schedule};
use taskyard_core::schedule::RunOutcome;
use taskyard_core::store::SchedulePut;

use crate::world::{World, eventually};

impl World {
    /// Makes the database refuse additions of tasks of this kind with an SQLSTATE.
    async fn refuse_additions(&self, kind: &str, code: &str) {
        self.database
            .run(&format!(
                "create or replace function public.refuse_addition() returns trigger language plpgsql as $$ begin
                     raise exception 'not this one' using errcode = '{code}';
                 end $$;
                 create or replace trigger refuse_addition before insert on taskyard.task for each row
                     when (new.kind = '{kind}') execute function public.refuse_addition();"
            ))
            .await;
    }

    async fn started(&self, name: &str) -> usize {
        let runs = self.client.schedule_runs(name, 1_000).await.unwrap();
        runs.iter().filter(|run| run.outcome == RunOutcome::Enqueued).count()
    }
}

fn every_second(name: &str, kind: &str) -> Schedule<serde_json::Value> {
    Schedule::every(name, Duration::from_secs(1), Call::new(kind, &("tick",)))
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let each = ["P0001", "42501", "53200", "08006"].map(|code| async move {
        let world = World::new().await;
        world.refuse_additions("current", code).await;
        let _server = world.server(|_| {}).await;
        world.client.add_schedule(every_second("refused", "current")).await.unwrap();
        world.client.add_schedule(every_second("other", "echo")).await.unwrap();
        eventually(&format!("the other goes on ({code})"), || async { world.started("other").await >= 3 }).await;
        assert_eq!(world.started("refused").await, 0, "{code}");
        assert_eq!(world.client.schedule("refused").await.unwrap().problem, None, "{code}");
        world.database.run("drop trigger refuse_addition on taskyard.task").await;
        eventually(&format!("it goes on ({code})"), || async { world.started("refused").await >= 1 }).await;
    });
    futures_util::future::join_all(each).await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_left_alone_with_its_reason() {
    let world = World::new().await;
    world.refuse_additions("current", "23514").await;
    let _server = world.server(|_| {}).await;
    world.client.add_schedule(every_second("refused", "current")).await.unwrap();
    world.client.add_schedule(every_second("other", "echo")).await.unwrap();
    eventually("it is left alone", || async { world.client.schedule("refused").await.unwrap().problem.is_some() })
        .await;
    let problem = world.client.schedule("refused").await.unwrap().problem.unwrap();
    assert!(problem.contains("not this one"), "{problem}");
    eventually("the other goes on", || async { world.started("other").await >= 2 }).await;
}

/// Adding a schedule plans it, which enqueues a run that is already due.
#[tokio::test]
async fn one_whose_first_run_is_refused_is_added() {
    let world = World::new().await;
    world.refuse_additions("current", "P0001").await;
    let due_at_once: Schedule<()> = Schedule::after("refused", Duration::from_micros(1), Call::new("current", &()));
    let added = world.client.add_schedule(due_at_once).await.unwrap();
    assert_eq!((added.put, added.next_at), (SchedulePut::Added, None));
    world.database.run("drop trigger refuse_addition on taskyard.task").await;
    let _server = world.server(|_| {}).await;
    eventually("it runs", || async { world.started("refused").await == 1 }).await;
}
