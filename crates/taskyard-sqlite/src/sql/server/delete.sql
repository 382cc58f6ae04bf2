delete from ty_server where id = ?1
