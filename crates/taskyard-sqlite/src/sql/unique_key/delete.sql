delete from ty_unique_key where key = ?1 and task = ?2
