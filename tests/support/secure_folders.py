"""Silos of secure aggregation in folders, reached without a network, and a ledger for what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from stillhouse.platform.errors import StillhouseError
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_mechanisms import Shared, SharedGNMax
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.secure.agreement import Agreement
from stillhouse.platform.secure.ballot import SecureBallot
from stillhouse.platform.secure.folder import AGREEMENT, IDENTITY, SecureFolder, make_identity
from stillhouse.platform.secure.keys import Identity
from stillhouse.platform.secure.messages import Kind
from support.noise import RepeatableBytes

SILOS, CLASSES, CONTENT = 5, 3, "c" * 64
VOTES = np.array([[0, 1, 2, n % 3] for n in range(SILOS)])
GNMAX = SharedGNMax(NoiseShare(1.5, SILOS, dropped=1))


@dataclass
class Folders:
    """Silos in folders; a fresh object, as a fresh process has, answers each message. Some are lost before a step."""

    home: Path
    lost_before: Mapping[int, Kind] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    mechanism: Shared = GNMAX
    steps: int = 0

    def __post_init__(self) -> None:
        self.server = Identity.new()
        self.folders = [self.home / f"silo-{n}" for n in range(SILOS)]
        for folder in self.folders:
            folder.mkdir(parents=True)
        members = {folder.name: make_identity(folder / IDENTITY).public for folder in self.folders}
        self.agreement = Agreement.of(
            members, server=self.server.public, mechanism=self.mechanism, classes=CLASSES, dropped=1, colluding=0
        )
        for number, folder in enumerate(self.folders):
            self.agreement.write(folder / AGREEMENT)
            self.silo(number + 1).keep_question(CONTENT, VOTES[number])

    def silo(self, number: int) -> SecureFolder:
        return SecureFolder(self.folders[number - 1], noise=ShareNoise(RepeatableBytes(number)))

    def exchange(self, sent: Mapping[int, bytes], *, seconds: float) -> Iterable[bytes]:
        self.steps += 1
        for number, raw in sent.items():
            try:
                answer = self.silo(number).handle(raw)
            except StillhouseError as error:
                self.refused.append(str(error))
                continue
            lost = self.lost_before.get(number)
            if lost is None or answer[5] < lost:
                yield answer

    def ballot(self, ledger: Ledger) -> SecureBallot:
        return SecureBallot(
            ledger,
            self,
            self.server,
            self.agreement.terms,
            self.mechanism,
            dataset="scans",
            ensemble="e",
            classes=CLASSES,
        )


def charged(folder: Path, *, epsilon: float = 100.0) -> Ledger:
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    ledger.grant("scans", epsilon=epsilon, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
    return ledger
