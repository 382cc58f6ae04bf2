delete from ty_kind where group_id = ?1
