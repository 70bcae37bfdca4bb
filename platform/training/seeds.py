"""Seeds by name: every stage and every training has its own stream of random numbers.

A stage that is found kept draws nothing; if all drew from one stream, whatever follows would come out otherwise than
in the first start. Seeds govern training only. Privacy noise never comes from here.

>>> seed_for(7, "student") == seed_for(7, "student")
True
>>> seed_for(7, "student") == seed_for(7, "teacher", 3)
False
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .files import canonical_json


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on the run's seed and the names, and on nothing else."""
    digest = hashlib.blake2b(canonical_json([seed, *names]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own generators (weights, dropout) start from this seed inside, and are as before afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def restarted(generator: torch.Generator, seed: int) -> Iterator[None]:
    """The generator starts from this seed inside, and is as before afterwards."""
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
