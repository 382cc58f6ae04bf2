select min(next_at) from ty_schedule where planned and not paused and not ended and problem is null
