"""Several yes-or-no labels a record, partly wrong: flip rates estimated from how labels go together, and training that knows them."""
