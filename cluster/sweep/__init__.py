"""Sweeps: many runs that differ in their settings, placed by Ray Tune on one ledger, or a private search that releases the best."""
