//! A body that waits for another task gives its place to others meanwhile, so that tasks which wait for tasks never take
//! all places there are.
//!
//! The executor says what the calling thread's place is; whoever waits for a task's end rests it.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

/// Gone, the place is taken again.
pub type Resting = Box<dyn Any + Send>;

/// The places of the thread that runs bodies.
pub trait Seat {
    /// Gives away the place of the body that runs on this thread now, if one does.
    fn rest(&self) -> Option<Resting>;
}

thread_local! {
    static SEAT: RefCell<Option<Arc<dyn Seat>>> = const { RefCell::new(None) };
}

/// Says what the places of this thread are, for as long as it lives.
pub fn sit(seat: Arc<dyn Seat>) {
    SEAT.with(|current| *current.borrow_mut() = Some(seat));
}

/// Gives away the place of the body that runs on this thread, if one does, until the answer is dropped.
pub(crate) fn rest() -> Option<Resting> {
    let seat = SEAT.try_with(|seat| seat.try_borrow().ok().and_then(|seat| seat.clone())).ok().flatten();
    seat.and_then(|seat| seat.rest())
}
