"""DGD: discriminative-generative distillation, with a guarantee that says what it covers."""

from .method import Dgd

__all__ = ["Dgd"]
