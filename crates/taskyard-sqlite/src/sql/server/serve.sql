update ty_server set says = 1, build_0 = ?2, build_1 = ?3, queues = ?4 where id = ?1
