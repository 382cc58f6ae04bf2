select task, token, cancel from ty_signal where server_id = ?1 order by task
