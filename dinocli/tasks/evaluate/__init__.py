"""How good features are: with labels, without, and against others.

Start at `run.evaluate`. `truth` joins labels with rows, `labelled` and `unlabelled` fill the table, `views` looks at
the images again where they are there, `table` compares.
"""
