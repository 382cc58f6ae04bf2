update ty_sequence set batch = batch + ?1 returning batch
