"""Features in, groups out: the library call behind `dinocli cluster`."""
