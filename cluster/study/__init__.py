"""Studies: arms that differ in a setting or two, run with the same seeds in one Ray session and compared."""
