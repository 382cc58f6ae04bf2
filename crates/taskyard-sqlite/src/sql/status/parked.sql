select count(*) from ty_waiting where reason = 3
