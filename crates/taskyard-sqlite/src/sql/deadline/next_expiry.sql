select min(at) from ty_deadline where what = 0
