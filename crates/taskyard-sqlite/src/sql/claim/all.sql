select tasks from ty_claim
