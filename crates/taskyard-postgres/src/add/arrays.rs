//! Encodes a batch as columns, for one statement.

use std::collections::HashMap;

use taskyard_core::state::OnParentFailure;
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{AdditionId, NewTask, TaskId, Timestamp};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::begin::Begin;
use crate::text::{array_literal, limit_millis, micros, start};

/// The columns of a batch. A column without any value is absent.
#[derive(Default)]
pub(super) struct Arrays<'a> {
    addition: Option<Uuid>,
    ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    runtimes: Vec<i16>,
    names: Option<Vec<Option<&'a str>>>,
    queues: Vec<&'a str>,
    priorities: Vec<i32>,
    payloads: Vec<&'a [u8]>,
    contexts: Option<Vec<Option<&'a [u8]>>>,
    policies: Option<Vec<Option<String>>>,
    timeouts: Vec<Option<i64>>,
    after_us: Option<Vec<Option<i64>>>,
    run_ats: Option<Vec<Option<Timestamp>>>,
    expires_us: Option<Vec<Option<i64>>>,
    keys: Option<Vec<Option<&'a str>>>,
    holds: Option<Vec<Option<i16>>>,
    flags: Option<Vec<i32>>,
    tags: Option<Vec<Option<String>>>,
    on_failures: Option<Vec<i16>>,
    initial: Option<Vec<i16>>,
    open: Option<Vec<i32>>,
    fallen: Option<Vec<Option<Uuid>>>,
    first_parents: Option<Vec<Option<Uuid>>>,
    edge_parents: Option<Vec<Uuid>>,
    edge_children: Option<Vec<Uuid>>,
    edge_places: Option<Vec<i32>>,
    edge_open: Option<Vec<bool>>,
}

/// Returns a column, or `None` if `has` finds no value in any task.
fn column<'a, T>(
    tasks: &[&'a NewTask],
    has: impl Fn(&NewTask) -> bool,
    value: impl Fn(&'a NewTask) -> T,
) -> Option<Vec<T>> {
    tasks.iter().any(|task| has(task)).then(|| tasks.iter().map(|task| value(task)).collect())
}

/// Returns the flags that `sql/task/add.sql` defines.
fn flags(task: &NewTask, begin: Option<&Begin>) -> i32 {
    i32::from(task.auto_remove)
        + 2 * i32::from(task.at_most_once)
        + 4 * i32::from(begin.is_some_and(|begin| begin.has_children))
        + 16 * i32::from(!task.payload_encoded)
        + 32 * i32::from(!task.context_encoded && task.context.is_some())
}

impl<'a> Arrays<'a> {
    pub fn of(addition: Option<AdditionId>, tasks: &[&'a NewTask], begins: Option<&HashMap<TaskId, Begin>>) -> Self {
        let begin = |task: &NewTask| begins.and_then(|begins| begins.get(&task.id));
        let mut arrays = Self {
            addition: addition.map(|addition| addition.0),
            ids: tasks.iter().map(|task| task.id.0).collect(),
            kinds: tasks.iter().map(|task| task.kind.as_str()).collect(),
            runtimes: tasks.iter().map(|task| task.runtime.code()).collect(),
            names: column(tasks, |task| task.name.is_some(), |task| task.name.as_deref()),
            queues: tasks.iter().map(|task| task.queue.as_str()).collect(),
            priorities: tasks.iter().map(|task| task.priority).collect(),
            payloads: tasks.iter().map(|task| task.payload.as_slice()).collect(),
            contexts: column(tasks, |task| task.context.is_some(), |task| task.context.as_deref()),
            policies: {
                let policies: Vec<Option<String>> = tasks.iter().map(|task| task.policy_text()).collect();
                policies.iter().any(Option::is_some).then_some(policies)
            },
            timeouts: tasks.iter().map(|task| task.timeout.map(limit_millis)).collect(),
            after_us: column(
                tasks,
                |task| matches!(task.start, Start::After(_)),
                |task| if let Start::After(after) = task.start { Some(micros(after)) } else { None },
            ),
            run_ats: column(
                tasks,
                |task| matches!(task.start, Start::At(_)),
                |task| if let Start::At(at) = task.start { Some(start(at)) } else { None },
            ),
            expires_us: column(tasks, |task| task.expires.is_some(), |task| task.expires.map(micros)),
            keys: column(
                tasks,
                |task| task.unique.is_some(),
                |task| task.unique.as_ref().map(|unique| unique.key.as_str()),
            ),
            holds: column(
                tasks,
                |task| task.unique.is_some(),
                |task| {
                    task.unique.as_ref().map(|unique| match unique.hold {
                        UniqueHold::UntilFinished => 0,
                        UniqueHold::UntilStarted => 1,
                        UniqueHold::For(_) => 2,
                    })
                },
            ),
            flags: {
                let flags: Vec<i32> = tasks.iter().map(|task| flags(task, begin(task))).collect();
                flags.iter().any(|flags| *flags != 0).then_some(flags)
            },
            tags: column(
                tasks,
                |task| !task.tags.is_empty(),
                |task| (!task.tags.is_empty()).then(|| array_literal(&task.tags)),
            ),
            on_failures: column(
                tasks,
                |task| task.on_parent_failure != OnParentFailure::Fail,
                |task| task.on_parent_failure.code(),
            ),
            ..Self::default()
        };
        if begins.is_some() && tasks.iter().any(|task| !task.parents.is_empty()) {
            arrays.link(tasks, begin);
        }
        arrays
    }

    fn link<'b>(&mut self, tasks: &[&'a NewTask], begin: impl Fn(&NewTask) -> Option<&'b Begin>) {
        let (mut initial, mut open, mut fallen, mut first) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut parents, mut children, mut places, mut opens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for task in tasks {
            let nothing = Begin::default();
            let begin = begin(task).unwrap_or(&nothing);
            let open_count = begin.parents.iter().filter(|(_, open)| *open).count();
            initial.push(match begin.fallen {
                Some((state, _)) => state.code(),
                None => i16::from(open_count > 0),
            });
            open.push(i32::try_from(open_count).unwrap_or(i32::MAX));
            fallen.push(begin.fallen.map(|(_, root)| root));
            first.push(begin.parents.first().map(|(id, _)| *id));
            for (place, (parent, is_open)) in begin.parents.iter().enumerate() {
                parents.push(*parent);
                children.push(task.id.0);
                places.push(i32::try_from(place).unwrap_or(i32::MAX));
                opens.push(*is_open);
            }
        }
        self.initial = Some(initial);
        self.open = Some(open);
        self.fallen = Some(fallen);
        self.first_parents = Some(first);
        self.edge_parents = Some(parents);
        self.edge_children = Some(children);
        self.edge_places = Some(places);
        self.edge_open = Some(opens);
    }

    pub fn params(&self) -> [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 27] {
        [
            (&self.addition, Type::UUID),
            (&self.ids, Type::UUID_ARRAY),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.runtimes, Type::INT2_ARRAY),
            (&self.names, Type::TEXT_ARRAY),
            (&self.queues, Type::TEXT_ARRAY),
            (&self.priorities, Type::INT4_ARRAY),
            (&self.payloads, Type::BYTEA_ARRAY),
            (&self.contexts, Type::BYTEA_ARRAY),
            (&self.policies, Type::TEXT_ARRAY),
            (&self.timeouts, Type::INT8_ARRAY),
            (&self.after_us, Type::INT8_ARRAY),
            (&self.run_ats, Type::TIMESTAMPTZ_ARRAY),
            (&self.expires_us, Type::INT8_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.holds, Type::INT2_ARRAY),
            (&self.flags, Type::INT4_ARRAY),
            (&self.tags, Type::TEXT_ARRAY),
            (&self.on_failures, Type::INT2_ARRAY),
            (&self.initial, Type::INT2_ARRAY),
            (&self.open, Type::INT4_ARRAY),
            (&self.fallen, Type::UUID_ARRAY),
            (&self.first_parents, Type::UUID_ARRAY),
            (&self.edge_parents, Type::UUID_ARRAY),
            (&self.edge_children, Type::UUID_ARRAY),
            (&self.edge_places, Type::INT4_ARRAY),
            (&self.edge_open, Type::BOOL_ARRAY),
        ]
    }
}
