select position from ty_prune
