"""Train and evaluate: setup -> budget -> train -> select -> report, each a function of frozen values.

To follow `dinocli pretrain ./images` from the command to a training step and on to the verdict, read `cli/training.py`,
`tasks/train/train.py` (the line itself), `setup.py`, `budget.py`, `engine/build.py`, `engine/initialize.py`,
`engine/loop.py`, `engine/step.py`, `tasks/train/select.py`, `quality/verdict.py` and `tasks/train/run_report.py`.
"""
