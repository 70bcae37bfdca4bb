"""Batches of P people with K pictures each, so that every batch has pairs of one person and of two.

>>> batches = IdentityBatches([0, 0, 0, 1, 1, 2, 2, 2], 2, 2, torch.Generator().manual_seed(0))
>>> len(batches), {len(batch) for batch in batches}
(2, {4})
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from ..errors import BadInput
from ..training.world import World


class IdentityBatches(Sampler[list[int]]):
    """Numbers of the pictures in this process's part of each batch: K of each of its people, person after person.

    An epoch goes round the people: each is in as many batches as any other, give or take one, and never twice in one batch. A person's
    pictures are gone round in the same way. So no picture comes twice in a batch, unless a person has fewer than K: then all of theirs
    come before any of them is repeated. A person with a single picture is refused where K is above 1: what would be taken for pairs of
    two pictures would be pairs of one.

    The order is drawn from the generator, which has to be in the same state on every process; each process takes whole people.

    Args:
        identities: whole numbers (n,), the person on each picture.
        people_per_batch: P, of all processes together.
        pictures_per_person: K.
        generator: draws the order; it moves on with every epoch.
        world: how many processes share a batch, and which of them this is.
        batches: in an epoch; None: as many as show about n pictures.

    Raises:
        BadInput: there are fewer than P people, P cannot be shared out evenly, or somebody has a single picture.
    """

    def __init__(
        self,
        identities: Sequence[int] | np.ndarray,
        people_per_batch: int,
        pictures_per_person: int,
        generator: torch.Generator,
        *,
        world: World | None = None,
        batches: int | None = None,
    ) -> None:
        who, number, counts = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
        self._world = world or World()
        if people_per_batch < 1 or pictures_per_person < 1 or (batches is not None and batches < 1):
            raise BadInput(
                f"{batches} batches of {people_per_batch} people with {pictures_per_person} pictures",
                mend="use whole numbers from 1",
            )
        if people_per_batch > len(who):
            raise BadInput(
                f"batches of {people_per_batch} people", why=f"there are {len(who)}", mend="use fewer people a batch"
            )
        if people_per_batch % self._world.size:
            raise BadInput(
                f"{people_per_batch} people a batch cannot be shared by {self._world.size} processes",
                why="a person's pictures stay on one process",
                mend="use a multiple of the number of processes",
            )
        alone = int((counts < 2).sum())
        if pictures_per_person > 1 and alone:
            raise BadInput(
                f"{alone} of {len(who)} people have a single picture",
                why="a relation between two pictures of one person needs two",
                mend="leave these people out of the training set (data.fewest=2)",
            )
        order = np.argsort(number.reshape(-1), kind="stable")
        self._pictures = [torch.as_tensor(own) for own in np.split(order, np.cumsum(counts)[:-1])]
        self._people, self._each, self._generator = people_per_batch, pictures_per_person, generator
        self._batches = batches or max(1, round(len(order) / (people_per_batch * pictures_per_person)))
        # How many people have too few pictures for a batch without repetition.
        self.repeated = int((counts < pictures_per_person).sum())

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        people = _Rounds(torch.arange(len(self._pictures)), self._generator)
        pictures = [_Rounds(own, self._generator) for own in self._pictures]
        rank, size = self._world.rank, self._world.size
        for _ in range(self._batches):
            # Every process draws for all people, so that the generators stay together.
            drawn = [pictures[person].take(self._each) for person in people.take(self._people)]
            yield [picture for own in drawn[rank::size] for picture in own]


class _Rounds:
    """Goes round some numbers again and again, each round in a new order, and takes several at a time without a repetition."""

    def __init__(self, numbers: torch.Tensor, generator: torch.Generator) -> None:
        self._numbers, self._generator = numbers, generator
        self._left: list[int] = []

    def take(self, count: int) -> list[int]:
        """The next ones; with fewer numbers than `count`, all of them as often as it takes."""
        taken: list[int] = []
        while len(taken) < count:
            if not self._left:
                self._begin(taken[len(taken) - len(taken) % len(self._numbers) :])
            room = count - len(taken)
            taken += self._left[:room]
            self._left = self._left[room:]
        return taken

    def _begin(self, late: list[int]) -> None:
        """A new round, in which numbers that this batch has just had come last."""
        order = self._numbers[torch.randperm(len(self._numbers), generator=self._generator)].tolist()
        just = set(late)
        self._left = [one for one in order if one not in just] + [one for one in order if one in just]
