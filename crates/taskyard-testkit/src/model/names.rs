//! Names in the model: small numbers in place of the stores' UUIDs and texts.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A task.
    TaskNo(u16), "t"
);
number!(
    /// A boot of a server.
    ServerNo(u16), "s"
);
number!(
    /// A claim statement.
    ClaimNo(u16), "c"
);
number!(
    /// An attempt to add a batch.
    AdditionNo(u16), "a"
);
number!(
    /// A claim of one task. Never used twice, not even after a fail-over: it stands for 128 random bits.
    Token(u16), "k"
);
number!(
    /// A queue; 0 is `default`.
    QueueNo(u8), "q"
);
number!(
    /// A unique key.
    KeyNo(u8), "u"
);

/// Error of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// The body's own error, or the one given with a worker's death.
    Given(u8),
    /// `ParentTaskFailed`, naming this ancestor.
    ParentFailed(TaskNo),
    /// `ParentTaskCancelled`, naming this ancestor.
    ParentCancelled(TaskNo),
    /// `WorkerDied`: three times; a given traceback is kept.
    DiedThrice(Option<u8>),
    /// `WorkerDied`, and the task may run only once; a given traceback is kept.
    DiedOnce(Option<u8>),
    /// `ServerLost`, and the task may run only once.
    LostOnce,
    /// `ServerLost`, in the history: this server was lost.
    Lost(ServerNo),
    /// `CutShort`, and the task may run only once.
    CutShort,
    /// `Expired`.
    Expired,
    /// `UniqueKeyHeld`: not brought back with its parent, because this task holds its key.
    KeyHeld(TaskNo),
}
