select lane, rank, order_number from ty_kind_walk where walked <> version
