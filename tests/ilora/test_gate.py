"""Every gate gives each sequence a distribution over the experts, from that sequence alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.config.choices import GATES
from core.config.settings import GateConfig
from core.errors import InputError
from core.ilora.gate import Gate, MeanInput, RandomInput, SoftmaxGate, gate_penalty, make_gate

WIDTH, EXPERTS = 16, 4
LEARNT = [kind for kind in GATES if kind not in ("uniform", "random-fixed", "dataset")]


def gate_of(kind: str, sites: int = 1, **settings: float) -> Gate:
    torch.manual_seed(0)
    return make_gate(GateConfig(kind=kind, **settings), WIDTH, EXPERTS, sites)  # type: ignore[arg-type]


def z_of(batch: int = 5) -> Tensor:
    return torch.randn(batch, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["training", "answering"])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("kind", GATES)
def test_weights_are_a_distribution_at_every_site(kind: str, sites: int, mode: str) -> None:
    omega = gate_of(kind, sites).train(mode == "training")(z_of() * 30)
    assert omega.shape == (5, sites, EXPERTS)
    assert (omega >= 0).all()
    torch.testing.assert_close(omega.sum(-1), torch.ones(5, sites))


def test_weights_are_in_full_precision_whatever_comes_in() -> None:
    omega = gate_of("softmax").bfloat16()(z_of().bfloat16() * 30)
    assert omega.dtype == torch.float32


def test_the_papers_gate_is_softmax_of_w_z_and_nothing_else() -> None:
    gate, z = SoftmaxGate(WIDTH, EXPERTS), z_of()
    torch.testing.assert_close(gate(z)[:, 0], torch.softmax(z @ gate.linear.weight.T, -1))
    assert sum(p.numel() for p in gate.parameters()) == EXPERTS * WIDTH  # K x d, no bias
    assert not list(gate.buffers())  # no statistics that a file could forget


@pytest.mark.parametrize("kind", GATES)
def test_an_answer_depends_on_nobody_else_in_the_batch(kind: str) -> None:
    gate = gate_of(kind)
    gate.train()(z_of(8))  # running statistics are no longer what they started as
    gate.eval()
    torch.testing.assert_close(gate(z_of())[2], gate(z_of()[[2]])[0])


@pytest.mark.parametrize("kind", [kind for kind in GATES if kind not in ("uniform", "dataset")])
def test_sequences_get_weights_of_their_own(kind: str) -> None:
    omega = gate_of(kind).eval()(z_of())
    assert (omega[0] - omega[1]).abs().max() > 1e-4


def test_the_gate_by_dataset_gives_everything_to_the_place_that_holds_something() -> None:
    z = torch.zeros(3, WIDTH)
    for row, place in enumerate((2, 0, 3)):
        z[row, 4 * place : 4 * place + 4] = -torch.rand(4)
    omega = gate_of("dataset", sites=2)(z)
    assert omega.argmax(-1).tolist() == [[2, 2], [0, 0], [3, 3]] and (omega.amax(-1) == 1).all()


@pytest.mark.parametrize("kind", ["uniform", "random-fixed", "dataset"])
def test_a_control_learns_nothing(kind: str) -> None:
    assert not list(gate_of(kind).parameters())


def test_top_k_keeps_k_experts_and_renormalizes_the_softmax_over_them() -> None:
    gate, z = gate_of("top-k", kept=2), z_of()
    omega = gate(z)[:, 0]
    assert ((omega > 0).sum(-1) == 2).all()
    whole = torch.softmax(gate.logits(z), -1) * (omega > 0)
    torch.testing.assert_close(omega, whole / whole.sum(-1, keepdim=True))


def test_top_k_of_all_is_the_softmax() -> None:
    torch.testing.assert_close(gate_of("top-k", kept=9)(z_of()), gate_of("softmax")(z_of()))


def test_noise_is_for_training_only() -> None:
    gate, plain, z = gate_of("noisy"), gate_of("softmax"), z_of()
    assert (gate.train()(z) - plain(z)).abs().max() > 0.05
    torch.testing.assert_close(gate.eval()(z), plain(z))


def test_the_convolutions_statistics_are_part_of_the_state() -> None:
    gate = gate_of("resnet")
    gate.train()(z_of(8))
    other = gate_of("resnet")
    other.load_state_dict(gate.state_dict())
    torch.testing.assert_close(other.eval()(z_of()), gate.eval()(z_of()))
    forgotten = {name: value for name, value in gate.state_dict().items() if "running_mean" not in name}
    with pytest.raises(RuntimeError, match="running_mean"):
        other.load_state_dict(forgotten)


@pytest.mark.parametrize("kind", LEARNT)
def test_gradients_agree_with_finite_differences(kind: str) -> None:
    """In evaluation mode, where a gate is a plain function of its weights; ReLU's corners are far away."""
    gate, z = gate_of(kind).double().eval(), z_of(2).double()
    direction = torch.randn(2, 1, EXPERTS, dtype=torch.double)
    weights = list(gate.parameters())

    def value() -> Tensor:
        logits = gate.logits(z).view(2, 1, EXPERTS)
        return (gate.weigh(logits) * direction).sum()

    gradients = torch.autograd.grad(value(), weights)
    torch.manual_seed(3)
    for weight, gradient in zip(weights, gradients, strict=True):
        step = torch.randn_like(weight) * 1e-6
        with torch.no_grad():
            weight.add_(step)
            up = value()
            weight.sub_(2 * step)
            down = value()
            weight.add_(step)
        torch.testing.assert_close((up - down) / 2, (gradient * step).sum(), rtol=1e-3, atol=1e-12)


def test_the_balance_term_is_zero_for_even_use_and_the_entropy_term_rewards_mixing() -> None:
    even = torch.full((6, 2, EXPERTS), 1 / EXPERTS)
    one = torch.nn.functional.one_hot(torch.zeros(6, 2, dtype=torch.long), EXPERTS).float()
    taking_turns = torch.eye(EXPERTS)[:, None]
    balance, entropy = GateConfig(balance=1.0), GateConfig(entropy=1.0)
    assert float(gate_penalty(even, balance)) == pytest.approx(0, abs=1e-6)
    assert float(gate_penalty(taking_turns, balance)) == pytest.approx(0, abs=1e-6)
    assert float(gate_penalty(one, balance)) == pytest.approx(EXPERTS - 1)
    assert float(gate_penalty(even, entropy)) == pytest.approx(-1, abs=1e-5)
    assert float(gate_penalty(one, entropy)) == pytest.approx(0, abs=1e-5)


def test_a_random_input_is_the_same_for_the_same_history() -> None:
    draw = RandomInput(WIDTH)
    first = draw([[3, 1, 4], [1, 5]])
    torch.testing.assert_close(first[0], draw([[3, 1, 4]])[0])
    assert (first[0] - first[1]).abs().max() > 0.1


def test_a_mean_input_averages_vectors_not_items() -> None:
    sums = torch.tensor([[2.0, 0.0], [0.0, 6.0]])
    mean = MeanInput(sums, torch.tensor([1.0, 3.0]))
    scale = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).square().mean().sqrt()
    torch.testing.assert_close(mean([[0, 1]]) * scale, torch.tensor([[0.5, 1.5]]))


@pytest.mark.parametrize("settings", [{"kind": "none"}, {"scope": "all"}, {"input": "z"}, {"kept": 0}])
def test_a_setting_that_does_not_exist_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        GateConfig(**settings)  # type: ignore[arg-type]
