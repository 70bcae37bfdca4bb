"""The Transformer over all tokens of a clip: pre-norm layers (Xiong et al. 2020), a norm after the last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .form import Form


class Layer(nn.Module):
    """Attention, then a feed-forward part, each beside a shortcut."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._heads, self.dropout = form.heads, form.dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(form.width), nn.LayerNorm(form.width)
        self.triple, self.out = nn.Linear(form.width, 3 * form.width), nn.Linear(form.width, form.width)
        self.feed, self.back = nn.Linear(form.width, form.hidden), nn.Linear(form.hidden, form.width)
        # Queries and keys are alike at first: a token looks at those near its own time, so a masked one at its neighbours. From random
        # ones that takes hundreds of steps to learn.
        with torch.no_grad():
            query, key, _ = self.triple.weight.chunk(3)
            query.copy_(key)
        if form.zero_residual:
            for last in (self.out, self.back):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to the same."""
        tokens = tokens + self._drop(self.out(self._attend(self.norm_attention(tokens))))
        fed = self._drop(F.gelu(self.feed(self.norm_feed(tokens))))
        return tokens + self._drop(self.back(fed))

    def _attend(self, tokens: Tensor) -> Tensor:
        parts = self.triple(tokens).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return seen.transpose(1, 2).flatten(2)

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)


class Transformer(nn.Module):
    """Tokens (B, S, T, D) to (B, S, T, D), and what stands for the clip: (B, D)."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(form) for _ in range(form.layers))
        self.norm = nn.LayerNorm(form.width)
        self.token = nn.Parameter(0.02 * torch.randn(form.width)) if form.pool == "cls" else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The represented tokens, and their mean or the clip's own token."""
        shape = tokens.shape[1:3]
        rows = tokens.flatten(1, 2)
        if self.token is not None:
            rows = torch.cat([self.token.to(rows.dtype).expand(len(rows), 1, -1), rows], dim=1)
        for layer in self.layers:
            rows = layer(rows)
        rows = self.norm(rows)
        if self.token is not None:
            return rows[:, 1:].unflatten(1, shape), rows[:, 0]
        return rows.unflatten(1, shape), rows.mean(1)

    def set_dropout(self, rate: float) -> None:
        """Drop out at another rate from now on."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.dropout = rate
