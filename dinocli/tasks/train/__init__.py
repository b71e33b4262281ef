"""Train and judge: setup -> budget -> train -> select -> report; `train.train` is the order of things."""
