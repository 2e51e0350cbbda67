"""The gate gives every sequence a distribution over the experts."""

from __future__ import annotations

import torch

from core.ilora.gate import SoftmaxGate


def test_weights_are_a_distribution_in_full_precision_whatever_comes_in() -> None:
    gate = SoftmaxGate(16, 4).bfloat16()
    omega = gate(torch.randn(5, 16, dtype=torch.bfloat16) * 30)
    assert omega.shape == (5, 4)
    assert omega.dtype == torch.float32
    assert (omega >= 0).all()
    torch.testing.assert_close(omega.sum(-1), torch.ones(5))


def test_it_is_softmax_of_w_z_and_nothing_else() -> None:
    gate, z = SoftmaxGate(16, 4), torch.randn(5, 16)
    torch.testing.assert_close(gate(z), torch.softmax(z @ gate.linear.weight.T, -1))
    assert sum(p.numel() for p in gate.parameters()) == 4 * 16  # K x d, no bias
    assert not list(gate.buffers())  # no statistics that a file could forget


def test_each_user_gets_weights_from_their_own_representation_alone() -> None:
    gate, z = SoftmaxGate(16, 4), torch.randn(5, 16)
    torch.testing.assert_close(gate(z)[2], gate(z[[2]])[0])
    assert (gate(z)[0] - gate(z)[1]).abs().max() > 1e-3
