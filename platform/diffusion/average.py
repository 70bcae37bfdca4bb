"""An exponential moving average of weights, with a warm-up: early weights, from far away, are forgotten faster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The average of a network's weights and buffers: decay min(`decay`, (1 + n) / (10 + n)) at the n-th step.

    It can be kept and restored with a training (`platform.training.loop.Stateful`).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay, self._steps = network, decay, 0
        self._held = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's weights as they are now into the average."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for name, value in self._network.state_dict().items():
            if self._held[name].device != value.device:
                self._held[name] = self._held[name].to(value.device)
            if value.is_floating_point():
                self._held[name].lerp_(value, 1 - decay)
            else:
                self._held[name].copy_(value)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self._held.items()}

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"held": dict(self._held), "steps": self._steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state over."""
        self._steps = int(state_dict["steps"])
        self._held = {name: value.clone() for name, value in state_dict["held"].items()}
