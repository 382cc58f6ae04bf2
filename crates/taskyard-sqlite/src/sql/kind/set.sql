insert into ty_kind (runtime, kind, group_id) values (?1, ?2, ?3)
on conflict (runtime, kind) do update set group_id = excluded.group_id
