select lane from ty_ready where lane > ?1 order by lane limit 1
