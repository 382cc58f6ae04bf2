delete from ty_end_aside where task = ?1 and token = ?2
