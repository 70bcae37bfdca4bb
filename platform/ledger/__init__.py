"""The durable record of what was spent, and the answers that were already paid for."""

from .answers import AnswerStore, answer_key
from .highwater import HighWater
from .ledger import Ledger
from .opening import rewrite_mark
from .records import Budget, Charge, Receipt, Verification

__all__ = [
    "AnswerStore",
    "Budget",
    "Charge",
    "HighWater",
    "Ledger",
    "Receipt",
    "Verification",
    "answer_key",
    "rewrite_mark",
]
