select count(*) from ty_end_aside
