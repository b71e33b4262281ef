"""`dinocli embed`: one row of features per image."""
