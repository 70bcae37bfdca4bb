"""Networks that were trained elsewhere, read into modules of our own; fetched only when a person asks for it."""
