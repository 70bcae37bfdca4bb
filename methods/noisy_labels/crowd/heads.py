"""What an annotator says of an item whose class the network believes in with probabilities p: one matrix V_r for each annotator.

Two heads. CCC's published code (CrowdLayer of Rodrigues & Pereira, AAAI 2018, with the softmax after the mixture) has

    P_r(y) = softmax_y(p^T V_r)

in which V_r is no confusion matrix: with V_r = I and a certain p, the diagonal is e / (e + C - 1), 0.23 for ten classes. Ours is

    P_r(y) = sum_c p_c softmax_y(V_r[c])

whose rows are an annotator's confusion matrix. Both take a correction, added to the V of all annotators of a group.

>>> head = CrowdHead(2, 3, diagonal=200.0)
>>> head.probabilities(torch.eye(3), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])).tolist()
[1.0, 1.0, 0.0]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Kept in the logarithm, as published: an answer that a matrix holds impossible must not end the training.
EPSILON = 1e-5


class CrowdHead(nn.Module):
    """Matrices V (R, C, C), rows true classes, columns given labels; `official`: the published head.

    Args:
        annotators: number of annotators R.
        classes: number of classes C.
        diagonal: V_r starts as this times the identity.
        official: the softmax of the mixture instead of the mixture of softmaxes.
    """

    def __init__(self, annotators: int, classes: int, *, diagonal: float, official: bool = False) -> None:
        super().__init__()
        self.official = official
        self.matrices = nn.Parameter(diagonal * torch.eye(classes).expand(annotators, classes, classes).clone())

    def probabilities(self, p: Tensor, annotators: Tensor, labels: Tensor, correction: Tensor | None = None) -> Tensor:
        """Return the probability (M,) of each answer.

        Args:
            p: (M, C), the class probabilities of the answered items.
            annotators: (M,) who answered.
            labels: (M,) what they said.
            correction: (M, C, C), added to each answer's V.
        """
        matrices = self.matrices[annotators]
        if correction is not None:
            matrices = matrices + correction
        if self.official:
            said = torch.softmax((p.unsqueeze(1) @ matrices).squeeze(1), dim=1)
            return said.gather(1, labels.unsqueeze(1)).squeeze(1)
        rows = torch.softmax(matrices, dim=2)
        column = rows.gather(2, labels.view(-1, 1, 1).expand(-1, rows.shape[1], 1)).squeeze(2)
        return (p * column).sum(1)

    def confusions(self) -> Tensor:
        """Return row-stochastic (R, C, C): what each annotator would say of an item of a certain class."""
        return torch.softmax(self.matrices, dim=2)


def crowd_loss(probabilities: Tensor, count: float) -> Tensor:
    """Return the negative log-likelihood of answers with these probabilities (M,), over `count`: their number, as a rule."""
    return -(probabilities + EPSILON).log().sum() / count


def directional_gradient(
    head: CrowdHead, p: Tensor, direction: Tensor, annotators: Tensor, labels: Tensor, groups: Tensor, count: float,
    n_groups: int,
) -> Tensor:  # fmt: skip
    """Return d/dU of the crowd loss's derivative along a direction of the logits, at the correction U = 0: (G, C, C).

    This is the mixed second derivative that a meta step needs, in closed form: O(C^2) an answer, no graph. With dp = p (u - <p, u>)
    the derivative of the softmax along u, an answer's loss -log(S + eps) has the derivative psi along u, and psi depends on V_r by
    the answer's own row products only.

    Args:
        head: either head; its matrices are taken as constants.
        p: (M, C), class probabilities of the answered items.
        direction: (M, C), the logits' direction u.
        annotators, labels: (M,) who said what.
        groups: (R,) each annotator's group.
        count: what the loss was divided by.
        n_groups: G.
    """
    with torch.no_grad():
        matrices = head.matrices[annotators]
        dp = p * (direction - (p * direction).sum(1, keepdim=True))
        which = labels.unsqueeze(1)
        if head.official:
            mixture, change = (torch.stack((p, dp), 1) @ matrices).unbind(1)
            said = torch.softmax(mixture, dim=1)
            mean = (said * change).sum(1, keepdim=True)
            right = said.gather(1, which)
            ahead = change.gather(1, which) - mean
            weight = right / (right + EPSILON)
            one_hot = torch.zeros_like(said).scatter_(1, which, 1.0)
            by_mixture = weight * said * (change - mean) - EPSILON * right / (right + EPSILON) ** 2 * ahead * (
                one_hot - said
            )
            by_change = -weight * (one_hot - said)
            each = torch.stack((p, dp), 2) @ torch.stack((by_mixture, by_change), 1)
        else:
            rows = torch.softmax(matrices, dim=2)
            column = rows.gather(2, which.unsqueeze(1).expand(-1, rows.shape[1], 1)).squeeze(2)
            right = (p * column).sum(1, keepdim=True) + EPSILON
            by_column = column * (p * (dp * column).sum(1, keepdim=True) / right - dp) / right
            # Through the rows' softmax: by_column (e_y - row), for each row.
            each = -by_column.unsqueeze(2) * rows
            each.scatter_add_(2, which.unsqueeze(1).expand(-1, rows.shape[1], 1), by_column.unsqueeze(2))
        total = each.new_zeros(n_groups, *each.shape[1:])
        return total.index_add_(0, groups[annotators], each) / count
