"""Which client is which silo.

Where owners are separate the operator's roster says so: a client is known by its node's number, which Flower ties to its
registered key. Without a roster, in one trust domain, a client is taken at its word, once: a second one of the same name is refused.

>>> members = Members({"hospital-a": 17})
>>> members.silo(Reply(17, {"silo": "hospital-a"})), members.known([17, 18])
('hospital-a', [17])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...platform.errors import BadInput
from ...platform.ledger.records import name
from .flower import Reply


class Members:
    """The silos of a federation, by node. `roster`: silos by name, or None."""

    def __init__(self, roster: Mapping[str, int] | None = None) -> None:
        self.roster = sorted(roster or ())
        self._fixed = roster is not None
        self._silos: dict[int, str] = {node: silo for silo, node in (roster or {}).items()}

    def known(self, nodes: Iterable[int]) -> list[int]:
        """Those of these nodes that may take part."""
        return [node for node in nodes if not self._fixed or node in self._silos]

    @property
    def nodes(self) -> dict[str, int]:
        """The node of each silo, as far as that is known."""
        return {silo: node for node, silo in self._silos.items()}

    def silo(self, reply: Reply) -> str | None:
        """Return whose reply this is; None for a failure of a node that has not said yet who it is.

        Raises:
            BadInput: the node is not in the roster, names another silo than the roster does, or one that another node has named.
        """
        known = self._silos.get(reply.node)
        if reply.values is None:
            return known
        claimed = reply.values.get("silo")
        if known is not None and claimed == known:
            return known
        if self._fixed or known is not None or not isinstance(claimed, str) or claimed in self._silos.values():
            raise BadInput(
                "a client is not the silo that it says it is", mend="compare its folder's name with the roster"
            )
        name(silo=claimed)
        self._silos[reply.node] = claimed
        return claimed


def read_roster(path: Path) -> dict[str, int]:
    """Read a roster: a line `name node-id` for each silo, the number as `flwr supernode register` prints it.

    Raises:
        BadInput: there is no such file, or it is no roster.
    """
    if not path.is_file():
        raise BadInput(f"no roster file {path}", mend="write a line 'name node-id' for each silo")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path} is no text", mend="write a line 'name node-id' for each silo") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isdecimal():
            raise BadInput(f"{path}, line {number} is not 'name node-id'")
        name(silo=words[0])
        if words[0] in found or int(words[1]) in found.values():
            raise BadInput(f"{path}, line {number} names a silo or a node again")
        found[words[0]] = int(words[1])
    if not found:
        raise BadInput(f"the roster {path} is empty", mend="write a line 'name node-id' for each silo")
    return found
