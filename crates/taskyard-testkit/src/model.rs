//! The protocol as a pure state machine: the contract of `taskyard_core::store`, without a database.
//!
//! [`Db`] is the database: rows and transitions, one method per method of the `Store` trait, every method atomic.
//! [`World`] adds servers whose view of the database may be wrong: replies get lost, leases lapse, processes die or are
//! suspended, a fail-over loses the last commits. [`explore`] visits every state that a small [`Setup`] can reach and
//! checks each of them; [`Rules`] can break the protocol in thirteen known ways, to show that the exploration would
//! notice. The same [`Db`] is compared with the real stores in random sequences ([`crate::sequences`]).
//!
//! Everything here is numbers: a task is a [`TaskNo`], a token a [`Token`], time whole seconds. Nothing is random; two
//! worlds that differ only in the names of tokens, claims and servers are one state.

mod add;
mod canonical;
mod checks;
mod claim;
mod control;
mod db;
mod dependents;
mod explore;
mod finish;
mod invariants;
mod kinds;
mod names;
mod queues;
mod rules;
mod servers;
mod setups;
mod upkeep;
mod world;

pub use add::{AddError, Addition, Hold, Start};
pub use claim::{ClaimAnswer, ClaimAsk, ClaimedTask};
pub use control::Control;
pub use db::{
    AttemptRow, Cascade, Claim, Db, Deadline, DeadlineWhat, Edge, Key, Lane, ParentEvent, Queue, Ready, Server, Signal,
    Task, Waiting,
};
pub use explore::{Report, Trace, explore};
pub use finish::{Outcome, Reply, Writer};
pub use names::{Blame, ClaimNo, KeyNo, QueueNo, ServerNo, TaskNo, Token};
pub use queues::QueueStats;
pub use rules::{Guard, Rules};
pub use servers::BeatAnswer;
pub use setups::{Setup, sound_setups};
pub use upkeep::Promoted;
pub use world::{Action, Budget, Proc, Run, World};
