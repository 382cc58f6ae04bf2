update ty_schedule set version = version + 1, paused = 1 where name = ?1 and not paused
