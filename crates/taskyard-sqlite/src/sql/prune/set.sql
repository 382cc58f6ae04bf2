update ty_prune set position = ?1
