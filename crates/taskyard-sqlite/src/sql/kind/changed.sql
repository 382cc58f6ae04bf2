update ty_kind_walk set version = version + 1
