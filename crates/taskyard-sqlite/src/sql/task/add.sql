insert into ty_task (
    order_number, id, state, kind, runtime, name, queue, priority, has_children, has_parents, has_context, at_most_once,
    auto_remove, on_parent_failure, parent_id, fallen_from, policy, timeout_ms, unique_key, unique_hold, tags,
    created_at, run_at, expires_at, finished_at, error_type, error_message, payload, plain
) values (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
    ?26, ?27, ?28, ?29
)
