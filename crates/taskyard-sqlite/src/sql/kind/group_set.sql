update ty_kind_group set builds = ?2, draining = ?3 where id = ?1
