//! Sets of tasks that only chosen servers run.

/// Declares a set of tasks: a `static` slice that `#[task(set = PATH)]` functions are added to at link time.
///
/// Tasks of a set are unknown to every server of the program except those of a queue that was given the set. The name
/// of the static must be unique in its crate.
///
/// ```no_run
/// use taskyard::{Taskyard, task};
///
/// taskyard::task_set!(REPAIRS);
///
/// #[task(set = REPAIRS)]
/// async fn rebuild_index(name: String) {
///     println!("rebuilding {name}");
/// }
///
/// # async fn example(queue: Taskyard) -> taskyard::Result<()> {
/// let server = queue.task_set(&REPAIRS).serve().await?;
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! task_set {
    ($(#[$attribute:meta])* $visibility:vis $name:ident) => {
        $(#[$attribute])*
        #[$crate::__private::linkme::distributed_slice]
        #[linkme(crate = $crate::__private::linkme)]
        $visibility static $name: [$crate::TaskDef];
    };
}
