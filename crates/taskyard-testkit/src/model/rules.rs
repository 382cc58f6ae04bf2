//! Switches of the protocol, and the thirteen ways of breaking it that an exploration must notice.

/// Condition under which a write of a running attempt is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guard {
    /// By id, state and random token: the protocol.
    #[default]
    Token,
    /// Broken: by id only.
    Id,
    /// Broken: by id and state.
    IdState,
    /// Broken: by id, state and server.
    IdStateServer,
    /// Broken after a fail-over: by id, state and the attempt's number, which is rolled back with the row.
    AttemptNumber,
}

/// The protocol's switches; the default is the correct protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Fencing of writes.
    pub guard: Guard,
    /// Broken: a rescue reads the tasks first and frees them by id afterwards.
    pub rescue_in_two_steps: bool,
    /// Broken: a terminal write clears the token, so that its repetition is not recognised.
    pub token_cleared_at_end: bool,
    /// Broken: an addition reads the parents' states without locking them.
    pub parents_unlocked: bool,
    /// Broken: a release drops the request to cancel.
    pub flag_lost_at_release: bool,
    /// Broken: a retry does not wait for the cascade in progress.
    pub retry_beside_cascade: bool,
    /// Broken: a change of the priority does not move the row of an enqueued task.
    pub place_left_behind: bool,
    /// Broken: an addition that is revoked because it was not found is not marked as refused.
    pub asked_back_unmarked: bool,
    /// Broken: a refusal by one build parks the task, though another one may know its kind.
    pub parked_by_one: bool,
    /// Broken: a refusal by one build hides the task from builds that have not refused its kind.
    pub refused_for_all: bool,
    /// Maximum number of edges processed within one transaction; the rest is left to a cascade row.
    pub inline_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            guard: Guard::Token,
            rescue_in_two_steps: false,
            token_cleared_at_end: false,
            parents_unlocked: false,
            flag_lost_at_release: false,
            retry_beside_cascade: false,
            place_left_behind: false,
            asked_back_unmarked: false,
            parked_by_one: false,
            refused_for_all: false,
            inline_max: taskyard_core::store::CASCADE_INLINE_MAX,
        }
    }
}
