"""One silo as a Flower client: it finds its own folder, trains its teacher when it is first asked, votes.

Flower may use a fresh process for every request, so nothing is kept in memory: the teacher is found again in the silo's folder, and
so are the votes that it cast. What is public here is what is public on a silo: who it is, how far it is, votes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ...platform.errors import BadInput
from ...platform.silo.host import SiloHost
from ...platform.silo.teachers import VOTES, TeacherKind, teacher_kind_from_json
from ...platform.training.files import check_name
from .flower import Node, Values

SIMULATED = "STILLHOUSE_SIMULATED_SILOS"
_GPUS = "CUDA_VISIBLE_DEVICES"


def train(values: Values, node: Node) -> Values:
    """Train the teacher, or find it. The answer is public: the silo's name, image shape, classes, whether it was trained now."""
    host, trained = ready(node)
    facts = host.describe()
    return {"silo": host.silos[0], "trained": trained, "classes": facts["classes"], "shape": json.dumps(facts["shape"])}


def votes(values: Values, node: Node) -> Values:
    """Vote on `images`, public uint8 (Q, c, h, w): the silo's name and `votes`, int32 (Q,). Trains first if that has not been done."""
    images = values.get("images")
    if not isinstance(images, np.ndarray):
        raise BadInput("a request for votes holds no images")
    host, _ = ready(node)
    return {"silo": host.silos[0], "votes": host.vote(images)[0].astype(np.int32)}


def silo_folder(node: Node) -> Path:
    """Return the silo's folder, which its owner names: `--node-config 'folder="/data/hospital-a"'`.

    In a simulation it is that of the node's `partition-id`, in a folder that this process's environment names. A server never names it.

    Raises:
        BadInput: the owner has not named one, or there is none of this number.
    """
    own = node.settings.get("folder")
    if own is not None:
        folder = Path(str(own)).expanduser()
        check_name(folder.name)
        return folder
    home, number = os.environ.get(SIMULATED), node.settings.get("partition-id")
    if home is None or not isinstance(number, int):
        raise BadInput(
            "this client does not know its folder", mend="start its SuperNode with --node-config 'folder=\"...\"'"
        )
    folders = sorted(folder for folder in Path(home).iterdir() if folder.is_dir())
    if not 0 <= number < len(folders):
        raise BadInput(f"there are {len(folders)} silos, this client is number {number}")
    return folders[number]


def teacher_of(node: Node) -> TeacherKind:
    """Return the kind of teacher: the owner's, if it has one of its own (`teacher` of the node's settings), else the run's."""
    chosen = node.settings.get("teacher") or node.run.get("teacher") or ""
    try:
        described = json.loads(str(chosen))
    except ValueError:
        described = None
    if not isinstance(described, dict):
        raise BadInput("the teacher's kind is no JSON object", mend='write for example {"name": "scatter_ridge"}')
    kind = teacher_kind_from_json(described)
    if VOTES not in getattr(kind, "answers", (VOTES,)):
        raise BadInput(f"teachers of the kind '{kind.name}' do not vote", mend="use a kind that votes")
    return kind


def ready(node: Node) -> tuple[SiloHost, bool]:
    """Return the silo with its teacher, and whether that was trained now."""
    seed = int(node.settings.get("seed", node.run.get("seed", 0)))
    host = SiloHost([silo_folder(node)], teacher_of(node), seed=seed, device=_device(node))
    return host, host.train().trained > 0


def _device(node: Node) -> str:
    """The owner's choice; in a simulation a GPU if Flower has given this process one."""
    chosen = node.settings.get("device")
    if chosen is not None:
        return str(chosen)
    return "cuda" if SIMULATED in os.environ and os.environ.get(_GPUS) else "cpu"
