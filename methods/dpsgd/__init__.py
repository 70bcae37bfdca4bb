"""DP-SGD on all private records: what every private method has to be compared with."""

from .method import DirectDpSgd

__all__ = ["DirectDpSgd"]
