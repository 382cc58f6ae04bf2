select id, runtime, builds, draining from ty_kind_group order by id
