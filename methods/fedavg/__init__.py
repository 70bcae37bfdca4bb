"""DP-FedAvg: federated averaging of the student's network with central differential privacy, to compare with teachers' votes."""

from .method import DpFedAvg

__all__ = ["DpFedAvg"]
