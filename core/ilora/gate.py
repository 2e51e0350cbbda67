"""The gate: from a user's sequence representation to the weights of the K experts (paper §3.2, eq. 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftmaxGate(nn.Module):
    """omega = softmax(W z), the paper's linear gate.

    Args:
        width: d, the length of a sequence representation z.
        experts: K, the number of experts.
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.linear = nn.Linear(width, experts, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Expert weights, each row a distribution.

        Args:
            z: (batch, width) sequence representations.

        Returns:
            omega, (batch, experts), in z's precision or better; rows sum to one.
        """
        return torch.softmax(self.linear(z).float(), dim=-1)
