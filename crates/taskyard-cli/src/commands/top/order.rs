//! The orders in which `top` shows queues and running tasks, and the keys that change them.

use std::cmp::Reverse;

use taskyard::{QueueStatus, TaskRecord};

/// The order of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) queues: Queues,
    pub(super) running: Running,
}

/// The order of the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Queues {
    #[default]
    Fullest,
    Name,
    Enqueued,
    Doing,
    Waiting,
    Oldest,
}

/// The order of the running tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Running {
    #[default]
    Newest,
    Longest,
    Name,
    Queue,
}

impl Order {
    /// Handles a key; returns whether the order has changed.
    pub(super) fn press(&mut self, key: u8) -> bool {
        match key.to_ascii_lowercase() {
            b's' => self.queues = self.queues.next(),
            b't' => self.running = self.running.next(),
            _ => return false,
        }
        true
    }

    /// Returns the last line of the screen: the keys and the current order.
    pub(super) fn keys(self) -> String {
        format!("q quit   s sort queues: {}   t sort tasks: {}", self.queues.word(), self.running.word())
    }
}

impl Queues {
    const fn next(self) -> Self {
        match self {
            Self::Fullest => Self::Name,
            Self::Name => Self::Enqueued,
            Self::Enqueued => Self::Doing,
            Self::Doing => Self::Waiting,
            Self::Waiting => Self::Oldest,
            Self::Oldest => Self::Fullest,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Fullest => "fullest",
            Self::Name => "name",
            Self::Enqueued => "enqueued",
            Self::Doing => "doing",
            Self::Waiting => "waiting",
            Self::Oldest => "oldest",
        }
    }

    /// Sorts queues; equal ones by name.
    pub(super) fn sort(self, queues: &mut [&QueueStatus]) {
        queues.sort_by(|one, other| one.name.cmp(&other.name));
        match self {
            Self::Fullest => queues.sort_by_key(|queue| Reverse(queue.enqueued + queue.doing + queue.waiting)),
            Self::Name => {}
            Self::Enqueued => queues.sort_by_key(|queue| Reverse(queue.enqueued)),
            Self::Doing => queues.sort_by_key(|queue| Reverse(queue.doing)),
            Self::Waiting => queues.sort_by_key(|queue| Reverse(queue.waiting)),
            Self::Oldest => queues.sort_by_key(|queue| Reverse(queue.oldest_enqueued)),
        }
    }
}

impl Running {
    const fn next(self) -> Self {
        match self {
            Self::Newest => Self::Longest,
            Self::Longest => Self::Name,
            Self::Name => Self::Queue,
            Self::Queue => Self::Newest,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Longest => "longest",
            Self::Name => "name",
            Self::Queue => "queue",
        }
    }

    /// Sorts tasks that are given in the order of addition, the newest first.
    pub(super) fn sort(self, tasks: &mut [TaskRecord]) {
        match self {
            Self::Newest => {}
            Self::Longest => tasks.sort_by_key(|task| task.started_at),
            Self::Name => tasks.sort_by(|one, other| one.name.cmp(&other.name)),
            Self::Queue => tasks.sort_by(|one, other| one.queue.cmp(&other.queue)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_through_every_order_and_back() {
        let mut order = Order::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(order.keys());
            assert!(order.press(b's') && order.press(b'T') && !order.press(b'x'));
        }
        assert_eq!((order.queues, order.running), (Queues::Fullest, Running::Name));
        assert_eq!(seen[0], "q quit   s sort queues: fullest   t sort tasks: newest");
        assert_eq!(seen.iter().collect::<std::collections::HashSet<_>>().len(), 6);
    }
}
