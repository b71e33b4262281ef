"""`dinocli classify`: train a classifier on a few labels and predict all other images."""
