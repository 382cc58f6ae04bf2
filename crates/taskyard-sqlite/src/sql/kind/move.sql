update ty_kind set group_id = ?2 where group_id = ?1
