"""Networks and fixed transforms that two or more methods share."""
