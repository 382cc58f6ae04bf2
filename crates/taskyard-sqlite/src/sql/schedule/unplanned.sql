select name from ty_schedule where not planned and not paused and problem is null limit ?1
