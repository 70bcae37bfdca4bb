"""Which real images of a class stand for it: the coresets that condensed images start from and are compared with.

>>> features = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
>>> select("k_center", features, 2, torch.Generator()).tolist()
[2, 3]
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ...platform.errors import BadInput

# Lloyd's steps: a large class takes about a second, and only the images nearest to the centres are kept.
LLOYD_STEPS = 30


def select(kind: str, features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the numbers (count,) int64, on the CPU and all different, of the chosen rows of one class.

    * "random": each row with the same chance.
    * "herding": the row that brings the mean of the chosen nearest to the mean of all, again and again (Welling 2009;
      without replacement as in iCaRL, Rebuffi et al. 2017, arXiv 1611.07725, algorithm 4, which normalises features).
    * "k_center": the row farthest from all chosen, again and again (Sener & Savarese 2018, arXiv 1708.00489,
      algorithm 1), starting with the row nearest to the mean. The largest distance from a row to the nearest chosen one
      is at most twice the least possible.
    * "k_means": the rows nearest to the centres of k-means++.

    Herding and k-center draw nothing, and a smaller count gives the beginning of a larger one. Equal rows go in order.

    Args:
        kind: one of `SELECTIONS`.
        features: of all images of the class (n, D), in whatever space distances shall be measured.
        count: rows to choose, 1 .. n.
        generator: for "random", and the starts of "k_means"; a CPU generator.

    Raises:
        BadInput: the kind is unknown, the count does not fit, or the features are not a finite matrix.
    """
    if kind not in _KINDS:
        near = difflib.get_close_matches(str(kind), SELECTIONS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"unknown selection {kind!r}{hint}", mend=f"use one of {', '.join(SELECTIONS)}")
    if features.ndim != 2:
        raise BadInput(f"features of shape {tuple(features.shape)}", mend="give one row an image: features.flatten(1)")
    if not 1 <= count <= len(features):
        raise BadInput(
            f"{count} images to choose from a class of {len(features)}", mend=f"choose between 1 and {len(features)}"
        )
    points = features.detach()
    if points.dtype != torch.float64:
        points = points.float()
    if not points.isfinite().all():
        raise BadInput("features are not finite", why="distances between them mean nothing", mend="check the encoder")
    return _KINDS[kind](points, count, generator).cpu()


def _random(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(points), generator=generator)[:count]


def _herding(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    # Around the mean, what the next row must cancel is the sum of those chosen; it stays small, so float32 is enough.
    centred = points - points.mean(0)
    total = torch.zeros_like(centred[0])
    taken = torch.zeros_like(points[:, 0])
    chosen = []
    for _ in range(count):
        best = (_distances(centred, -total) + taken).argmin()
        chosen.append(best)
        total += centred[best]
        taken[best] = torch.inf
    return torch.stack(chosen)


def _k_center(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    chosen = [_distances(points, points.mean(0)).argmin()]
    gap = torch.full_like(points[:, 0], torch.inf)
    while len(chosen) < count:
        gap = torch.minimum(gap, _distances(points, points[chosen[-1]]))
        # Equal rows have gap 0 as well: a chosen one must not be chosen again.
        gap[chosen[-1]] = -1
        chosen.append(gap.argmax())
    return torch.stack(chosen)


def _k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    fitted = KMeans(count, n_init=1, max_iter=LLOYD_STEPS, random_state=seed).fit(points.cpu().numpy())
    # Two centres may have the same nearest row.
    taken = torch.zeros_like(points[:, 0])
    chosen = []
    for centre in torch.from_numpy(fitted.cluster_centers_).to(points):
        best = (_distances(points, centre) + taken).argmin()
        chosen.append(best)
        taken[best] = torch.inf
    return torch.stack(chosen)


def _distances(points: Tensor, point: Tensor) -> Tensor:
    # Differences, not |x|^2 - 2xy + |y|^2, which cancels between near rows; in one pass, so as fast as that.
    return torch.cdist(points, point[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]


_KINDS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "random": _random,
    "herding": _herding,
    "k_center": _k_center,
    "k_means": _k_means,
}
SELECTIONS = tuple(_KINDS)
