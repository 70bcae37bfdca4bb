"""Learning from a crowd: labels are aggregated, annotators described, and a classifier is taught by all answers at once."""
