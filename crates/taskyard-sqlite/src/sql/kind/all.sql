select runtime, kind, group_id from ty_kind
