"""Stillhouse: learn from data that may not leave its owner, with one ledger of what that cost in privacy."""

__version__ = "0.1.0"
