"""PATE: a student taught by the noisy votes of teachers on disjoint shards."""

from .method import Pate

__all__ = ["Pate"]
