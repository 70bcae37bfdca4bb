"""A run whose votes nobody sees: its mechanism with noise in shares, see `platform.secure`."""

from __future__ import annotations

from dataclasses import replace

from ..platform.errors import BadInput
from ..platform.privacy.distributed_mechanisms import Shared, SharedConfidentGNMax, SharedGNMax
from ..platform.privacy.distributed_noise import NoiseShare
from ..platform.privacy.mechanisms import ConfidentGNMax, GNMax
from .carrier import FLOWER
from .config.compose import Resolved


def secured(resolved: Resolved) -> Resolved:
    """Return the run with `privacy.mechanism` in shares if `silos.secure` says so, else as it is.

    Sigma is that of the noise that is counted on, so a label costs what it costs with a trusted aggregator; all shares together are
    more, by what may be lost or told.

    Raises:
        BadInput: the silos are not carried by Flower, or there is no such mechanism in shares.
    """
    silos = resolved.config.silos
    if not silos.secure:
        return resolved
    if resolved.config.cluster.carrier != FLOWER:
        raise BadInput(
            "silos.secure adds votes up among Flower clients", why="Ray actors send them to an aggregator that is trusted",
            mend="use `stillhouse federate`",
        )  # fmt: skip
    mechanism = resolved.mechanism
    kinds = (GNMax, ConfidentGNMax)
    if type(mechanism) not in kinds:
        raise BadInput(
            f"the mechanism '{mechanism.name}' is not offered with noise in shares",
            mend=f"use privacy={' or privacy='.join(kind.name for kind in kinds)}",
        )

    def share(sigma: float) -> NoiseShare:
        return NoiseShare(sigma, silos.teachers, silos.dropped, silos.colluding)

    shared: Shared
    if isinstance(mechanism, ConfidentGNMax):
        shared = SharedConfidentGNMax(
            mechanism.threshold, check=share(mechanism.sigma1), answer=share(mechanism.sigma2)
        )
    else:
        shared = SharedGNMax(share(mechanism.sigma))
    return replace(resolved, mechanism=shared)
