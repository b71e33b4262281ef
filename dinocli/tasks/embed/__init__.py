"""Images in, one row of features each out: the library calls behind `dinocli embed`."""
