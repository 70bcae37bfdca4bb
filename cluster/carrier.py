"""Who holds simulated silos and carries their votes: Ray actors, or Flower clients on this machine. No result depends on it."""

from __future__ import annotations

from ..platform.errors import BadInput
from ..platform.silo.teachers import VOTES
from .config.compose import Resolved

RAY, FLOWER = "ray", "flower"


def check_carrier(resolved: Resolved) -> None:
    """See to it that the silos of a run can be carried as its configuration says.

    Raises:
        BadInput: there is no such carrier, or it does not fit the method, the teachers or the place.
    """
    config, kind = resolved.config, resolved.teacher
    cluster, silos = config.cluster, config.silos
    if cluster.carrier not in (RAY, FLOWER):
        raise BadInput(f"unknown cluster.carrier '{cluster.carrier}'", mend=f"use {RAY} or {FLOWER}")
    if cluster.carrier == RAY:
        return
    if resolved.method.works_on != "ensemble" or not getattr(resolved.method, "asks", True):
        raise BadInput(
            "this method asks no silos, so there is nothing for Flower to carry",
            mend="use `stillhouse run`, or a method of knowledge transfer such as method=pate",
        )
    if silos.address or cluster.address:
        raise BadInput(
            "Flower clients are simulated on this machine",
            why="silos.address or cluster.address names another place",
            mend="leave it out; docs/federation.md says how separate owners take part through Flower",
        )
    if silos.per_actor is not None or silos.label is not None:
        raise BadInput(
            "silos.per_actor and silos.label place Ray actors",
            why="a Flower client has one silo",
            mend="leave them out, or use `stillhouse run`",
        )
    if VOTES not in getattr(kind, "answers", (VOTES,)):
        raise BadInput(
            f"teachers of the kind '{kind.name}' answer with vectors and learn from the questions",
            why="a Flower client may be a fresh process for every request, which has forgotten what it learnt",
            mend="use `stillhouse run`, or a kind of teacher that votes",
        )
