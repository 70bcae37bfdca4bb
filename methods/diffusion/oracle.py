"""The teachers of private diffusion as a student sees them: vectors are asked for, and only noisy sums of clipped ones come back.

| task | inputs, all of them public or released before | a teacher's vector |
| --- | --- | --- |
| targets | x (B, c, h, w) float32, step, label (B,) int64, signal (B,) float32 | its estimate of the clean images at x, flattened |
| gradients | the same, and student (B, c, h, w) float32 | the gradient of its loss by the student's images, flattened |
| directions | as for gradients | the same, scaled to length 1 |

`signal` is abar at the steps by the student's schedule: a teacher with another one does not answer.

A teacher's discriminator takes one step of training on every batch of gradients before it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ...platform.privacy.vector_mean import Draw
from ...platform.training.run import Run


class VectorEnsemble(Protocol):
    """Teachers that answer with vectors: only sums with noise leave."""

    teachers: int

    def ask_vectors(
        self, task: str, inputs: Mapping[str, np.ndarray], *, clip: float, noise_multiplier: float,
        centre: np.ndarray | None, draw: Draw, run: Run,
    ) -> np.ndarray:  # fmt: skip
        """Return float32 (B, d), d = c h w; the whole batch is charged before it is drawn.

        With clip_C(v) = v min(1, C / |v|) for each row, and noise that is independent from one coordinate to the next:

        - "all": centre + (1/K) (sum over k of clip(v_k - centre, C) + N(0, (2 C noise_multiplier)^2));
        - "one": centre + clip(v_k - centre, C) + N(0, (2 C noise_multiplier)^2) for one k, drawn uniformly and in secret.

        `centre`: (d,) for all rows, or (B, d); None stands for zero. It follows from what was released before.

        Raises:
            BudgetExhausted: the batch does not fit into the budget; nothing was drawn.
        """
