//! The correct protocol: every state of every small world is explored, and none breaks a rule or is a dead end.

use std::sync::Mutex;

use taskyard_testkit::model::{Report, Setup, explore, sound_setups};

/// Fewer states would mean that the worlds have become too small to be meaningful.
const STATES_MIN: usize = 1_000_000;

/// Explores all worlds, as many at once as there are processors.
fn reports(setups: Vec<Setup>) -> Vec<Report> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (todo, done) = (Mutex::new(setups), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(setup) = todo.lock().expect("no walk panics").pop() else { return };
                    let report = explore(&setup);
                    done.lock().expect("no walk panics").push(report);
                }
            });
        }
    });
    done.into_inner().expect("no walk panics")
}

#[test]
fn no_state_breaks_a_rule_and_an_end_is_always_near() {
    let mut states = 0;
    for report in reports(sound_setups()) {
        println!(
            "{:18} {:8} states, {:9} steps, {:7} settled, depth {}",
            report.name, report.states, report.steps, report.settled, report.depth
        );
        if let Some(trace) = report.violation {
            panic!("{}: {trace}", report.name);
        }
        assert!(report.settled > 0, "{}: nothing ever settles", report.name);
        states += report.states;
    }
    println!("{states} distinct states");
    assert!(states >= STATES_MIN, "only {states} states");
}
