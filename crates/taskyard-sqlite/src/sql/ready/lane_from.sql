select lane from ty_ready where lane >= ?1 and lane < ?2 order by lane limit 1
