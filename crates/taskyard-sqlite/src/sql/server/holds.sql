update ty_server set ends_held = ?2, ends_held_reason = ?3 where id = ?1
