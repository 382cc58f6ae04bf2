delete from ty_signal where task = ?1
