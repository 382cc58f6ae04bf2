//! A task that must run alone begins only once the ends before it are stored: if it kills the server, no other is charged.

use taskyard_core::state::Runtime;
use taskyard_core::{TaskRef, TaskState};

use crate::on_demand::{Taker, added, done, lose};
use crate::world::{World, within};

/// Makes the storing of ends take a third of a second, and records which tasks are `doing` when a task that must run
/// alone is claimed.
async fn watch(world: &World) {
    world
        .database
        .run(
            "create table public.beside (id uuid);
             create function public.slow() returns trigger language plpgsql as $$ begin
                 perform pg_sleep(0.3);
                 return new;
             end $$;
             create trigger slow before update on taskyard.task for each row
                 when (old.state = 2 and new.state <> 2) execute function public.slow();
             create function public.look() returns trigger language plpgsql as $$ begin
                 insert into public.beside select id from taskyard.task where state = 2 and id <> new.id;
                 return new;
             end $$;
             create trigger look before update on taskyard.task for each row
                 when (old.state = 1 and new.state = 2 and old.alone) execute function public.look();",
        )
        .await;
}

/// Fails if a task was `doing` when a task that must run alone was claimed.
async fn nothing_was_beside_it(world: &World) {
    world
        .database
        .run("do $$ begin assert not exists (select from public.beside), 'another task was doing'; end $$")
        .await;
}

#[tokio::test]
async fn what_must_run_alone_waits_for_the_ends_before_it() {
    let world = World::new().await;
    let lonely: TaskRef<u32> = world.add("hold", &(), |call| call);
    lonely.stored().await.unwrap();
    for _ in 0..3 {
        lose(&world, lonely.id(), Runtime::Rust).await;
    }
    assert!(world.record(&lonely).await.alone);
    let other: TaskRef<u32> = world.add("hold", &(), |call| call);
    other.stored().await.unwrap();
    let _server = world.server(|_| {}).await;
    world.stage.seen("hold", 1).await;
    assert_eq!(world.record(&other).await.state, TaskState::Doing);
    watch(&world).await;
    world.stage.open();
    assert_eq!(within("the lonely one", lonely.wait()).await.unwrap(), 4);
    nothing_was_beside_it(&world).await;
}

#[tokio::test]
async fn what_must_run_alone_waits_for_the_ends_before_it_on_demand() {
    let world = World::new().await;
    let lonely = added(&world, 1).await.remove(0);
    for _ in 0..3 {
        lose(&world, lonely.id(), Runtime::Python).await;
    }
    let (mut taker, _server) = Taker::new(&world).await;
    let other = added(&world, 1).await.remove(0);
    assert_eq!(taker.take(1, 0).await, [other.id()]);
    watch(&world).await;
    let waiting = taker.wants(1, 15_000).await;
    assert_eq!(taker.end(taker.slot(other.id()), done()).await, "\"done\"");
    assert_eq!(taker.answer(waiting).await, format!("[\"{}\"]", lonely.id()));
    nothing_was_beside_it(&world).await;
}
