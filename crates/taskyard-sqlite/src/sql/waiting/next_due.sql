select min(run_at) from ty_waiting where reason in (1, 2)
