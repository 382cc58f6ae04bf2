select min(ages_at) from ty_ready where ages_at is not null
