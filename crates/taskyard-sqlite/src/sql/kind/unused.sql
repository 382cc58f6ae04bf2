update ty_kind_group set draining = 1
where draining = 0 and not exists (select 1 from ty_kind k where k.group_id = ty_kind_group.id)
