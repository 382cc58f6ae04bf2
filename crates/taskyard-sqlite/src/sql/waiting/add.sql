insert into ty_waiting (order_number, reason, open_parents, run_at, parked, runtime)
values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict (order_number) do update
set reason = excluded.reason, open_parents = excluded.open_parents, run_at = excluded.run_at,
    parked = excluded.parked, runtime = excluded.runtime
