"""Judging whether two pictures show one person: verification, identification, open sets."""
