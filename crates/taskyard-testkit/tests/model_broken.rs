//! The protocol broken in thirteen known ways: the exploration must notice each, otherwise it proves nothing.

use taskyard_testkit::model::{Guard, Rules, Setup, explore};

fn is_caught(what: &str, how: &str, setup: Setup) {
    let report = explore(&setup);
    let trace = report.violation.unwrap_or_else(|| panic!("{what}: not noticed in {} states", report.states));
    println!("{what}: noticed after {} steps and {} states\n{trace}", trace.steps.len(), report.states);
    assert!(trace.what.contains(how), "{what}: noticed as `{}`, not as `{how}`", trace.what);
}

fn guard(guard: Guard) -> Rules {
    Rules { guard, ..Rules::default() }
}

#[test]
fn completion_by_id_only() {
    is_caught("completion by id only", "was decided again", Setup::one_task().with(guard(Guard::Id)));
}

#[test]
fn completion_by_id_and_state() {
    is_caught("id and state", "its lease is", Setup::one_task().with(guard(Guard::IdState)));
}

#[test]
fn completion_by_id_state_and_server() {
    is_caught("id, state and server", "its lease is", Setup::one_task().with(guard(Guard::IdStateServer)));
}

#[test]
fn the_attempt_number_as_the_token_with_a_fail_over() {
    // Without any other end of an attempt, so that the fail-over alone must reveal it.
    let setup = Setup { ends: Vec::new(), ..Setup::fail_over().with(guard(Guard::AttemptNumber)) };
    is_caught("attempt number as the token", "its lease is", setup);
}

#[test]
fn rescue_in_two_steps() {
    is_caught(
        "rescue in two steps",
        "the final state of",
        Setup::one_task().with(Rules { rescue_in_two_steps: true, ..Rules::default() }),
    );
}

#[test]
fn the_token_cleared_at_the_terminal_write() {
    is_caught(
        "token cleared",
        "was told that it is lost",
        Setup::one_task().with(Rules { token_cleared_at_end: true, ..Rules::default() }),
    );
}

#[test]
fn a_child_added_while_its_parent_finishes() {
    is_caught(
        "parents not locked",
        "limbo",
        Setup::family().with(Rules { parents_unlocked: true, ..Rules::default() }),
    );
}

#[test]
fn a_cancel_flag_lost_at_release() {
    is_caught(
        "flag lost",
        "was forgotten",
        Setup::one_task().with(Rules { flag_lost_at_release: true, ..Rules::default() }),
    );
}

#[test]
fn a_retry_during_a_cascade() {
    is_caught(
        "retry beside a cascade",
        "which stands again",
        Setup::cascade().with(Rules { retry_beside_cascade: true, ..Rules::default() }),
    );
}

#[test]
fn a_priority_that_leaves_the_place_behind() {
    is_caught(
        "place left behind",
        "its place is that of",
        Setup::limited().with(Rules { place_left_behind: true, ..Rules::default() }),
    );
}

#[test]
fn an_addition_asked_back_without_a_mark() {
    is_caught(
        "asked back without a mark",
        "of addition 0 (No)",
        Setup::one_task().with(Rules { asked_back_unmarked: true, ..Rules::default() }),
    );
}

#[test]
fn a_refusal_of_one_build_that_parks() {
    is_caught(
        "parked by one build",
        "a live build may know its kind",
        Setup::builds().with(Rules { parked_by_one: true, ..Rules::default() }),
    );
}

#[test]
fn a_refusal_of_one_build_that_hides_from_all() {
    is_caught(
        "hidden from all builds",
        "limbo",
        Setup::builds().with(Rules { refused_for_all: true, ..Rules::default() }),
    );
}
