delete from ty_build where id = ?1
