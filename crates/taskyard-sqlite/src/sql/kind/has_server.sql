select 1 from ty_server
where dead_at is null
  and (queues is null or exists (select 1 from json_each(queues) q where q.value = ?2))
  and (says = 0 or (case ?1 when 0 then build_0 else build_1 end is not null
    and not exists (select 1 from json_each(?3) b where b.value = case ?1 when 0 then build_0 else build_1 end)))
