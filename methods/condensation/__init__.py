"""Dataset condensation: a few synthetic images a class that teach as well as many real ones."""

from .method import Condensation

__all__ = ["Condensation"]
