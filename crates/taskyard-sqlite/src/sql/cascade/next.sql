select parent, fate, root, after from ty_cascade limit 1
