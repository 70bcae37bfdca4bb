"""The setting that says which forgeries are made; `forgeries` says what each is."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadInput


@dataclass(frozen=True)
class Forging:
    """Which families of forgeries are made.

    Args:
        families: in all parts.
        held_out: in the test part only.
    """

    families: tuple[str, ...] = ("FS", "NT")
    held_out: tuple[str, ...] = ("AE", "SBI", "INP", "TMP")

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", tuple(self.families))
        object.__setattr__(self, "held_out", tuple(self.held_out))
        if self.families or self.held_out:
            # They need torch, which takes a while to import.
            from .forgeries import check_families

            check_families([*self.families, *self.held_out])
        if self.held_out and not self.families:
            raise BadInput("families are held out, and there are none to learn from", mend="name some in families")
