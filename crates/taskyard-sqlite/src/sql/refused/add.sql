insert or ignore into ty_refused (id, at) values (?1, ?2)
