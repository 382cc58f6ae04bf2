select 1
from ty_server s
join ty_kind k on k.runtime = ?2 and k.kind = ?3
join ty_kind_group g on g.id = k.group_id
where s.id = ?1 and exists (
    select 1 from json_each(g.builds) b where b.value = case ?2 when 0 then s.build_0 else s.build_1 end)
