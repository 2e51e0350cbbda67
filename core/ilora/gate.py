"""The gate: from a user's history to the weights of the K experts (paper §3.2, eq. 5); and other gates.

A gate answers for one or more sites: one for the whole model (the paper's), one per adapted layer, or one
per adapted module. `omega` is (batch, sites, K) everywhere; each row of K is a distribution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.settings import GateConfig

Histories = Sequence[Sequence[int]]


class Gate(nn.Module, ABC):
    """What every gate has in common: logits in, a distribution over K experts at every site out.

    Args:
        experts: K.
        sites: how many places of the model get weights of their own.
    """

    def __init__(self, experts: int, sites: int = 1) -> None:
        super().__init__()
        self.experts, self.sites = experts, sites

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """(batch, sites * K) for z, (batch, width)."""

    def weigh(self, logits: Tensor) -> Tensor:
        """omega from logits, (batch, sites, K) both."""
        return torch.softmax(logits, dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        """Expert weights, in single precision or better.

        Args:
            z: (batch, width) what the gate reads of each history.

        Returns:
            omega, (batch, sites, K); the last axis sums to one.
        """
        return self.weigh(self.logits(z).float().view(len(z), self.sites, self.experts))


class SoftmaxGate(Gate):
    """omega = softmax(W z), the paper's linear gate."""

    def __init__(self, width: int, experts: int, sites: int = 1) -> None:
        super().__init__(experts, sites)
        self.linear = nn.Linear(width, sites * experts, bias=False)

    def logits(self, z: Tensor) -> Tensor:
        """W z."""
        found: Tensor = self.linear(z)
        return found


class MlpGate(Gate):
    """A hidden layer as wide as z before the softmax."""

    def __init__(self, width: int, experts: int, sites: int = 1) -> None:
        super().__init__(experts, sites)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, sites * experts))

    def logits(self, z: Tensor) -> Tensor:
        """Of the hidden layer's answer."""
        found: Tensor = self.layers(z)
        return found


class TopKGate(SoftmaxGate):
    """Only the `kept` heaviest experts take part; their weights are renormalized, the others' are zero."""

    def __init__(self, width: int, experts: int, sites: int = 1, kept: int = 2) -> None:
        super().__init__(width, experts, sites)
        self.kept = min(kept, experts)

    def weigh(self, logits: Tensor) -> Tensor:
        """The softmax over the kept logits, which is the renormalized softmax over all."""
        best = logits.topk(self.kept, dim=-1)
        return torch.zeros_like(logits).scatter(-1, best.indices, torch.softmax(best.values, dim=-1))


class NoisyGate(SoftmaxGate):
    """Normal noise on the logits while training, so that every expert gets its chance; none afterwards."""

    def __init__(self, width: int, experts: int, sites: int = 1, noise: float = 1.0) -> None:
        super().__init__(width, experts, sites)
        self.noise = noise

    def weigh(self, logits: Tensor) -> Tensor:
        """The softmax of the logits, shaken in training mode."""
        if self.training:
            logits = logits + self.noise * torch.randn_like(logits)
        return torch.softmax(logits, dim=-1)


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalization and a way around them."""

    def __init__(self, channels: int, wider: int) -> None:
        super().__init__()
        self.stride, self.extra = (1, 0) if wider == channels else (2, wider - channels)
        self.first = nn.Conv1d(channels, wider, 3, self.stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm1d(wider)
        self.second = nn.Conv1d(wider, wider, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm1d(wider)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, wider, length / stride) for x (batch, channels, length); new channels start empty."""
        around = F.pad(x[:, :, :: self.stride], (0, 0, self.extra // 2, self.extra - self.extra // 2))
        inside = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(inside + around)


class ResnetGate(Gate):
    """A residual network over z read as a signal, as the paper's code routes (20 layers, 16 to 64 channels).

    Its batch normalization keeps running statistics, which belong to the adapter: they are saved with it,
    and an answer never depends on who else is in the batch.
    """

    BLOCKS = ((16, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64))

    def __init__(self, width: int, experts: int, sites: int = 1) -> None:
        super().__init__(experts, sites)
        del width  # any length goes: the signal is averaged at the end
        self.entry = nn.Conv1d(1, 16, 3, padding=1, bias=False)
        self.entry_norm = nn.BatchNorm1d(16)
        self.blocks = nn.Sequential(*(ResidualBlock(*channels) for channels in self.BLOCKS))
        self.linear = nn.Linear(64, sites * experts)

    def logits(self, z: Tensor) -> Tensor:
        """Of the averaged signal."""
        signal = F.relu(self.entry_norm(self.entry(z[:, None, :])))
        found: Tensor = self.linear(self.blocks(signal).mean(dim=-1))
        return found


class UniformGate(Gate):
    """1/K for everybody: plain LoRA, as a control."""

    def logits(self, z: Tensor) -> Tensor:
        """Nothing speaks for any expert."""
        return z.new_zeros(len(z), self.sites * self.experts)


class RandomFixedGate(Gate):
    """A linear gate whose W is drawn once and never trained: sequences differ, but nothing was learnt.

    A control for what learning the gate is worth.
    """

    weight: Tensor

    def __init__(self, width: int, experts: int, sites: int = 1) -> None:
        super().__init__(experts, sites)
        self.register_buffer("weight", torch.randn(sites * experts, width) * width**-0.5)

    def logits(self, z: Tensor) -> Tensor:
        """W z."""
        return z @ self.weight.T.to(z.dtype)


class DatasetGate(Gate):
    """One expert for each of several datasets, which has everything: adapters that share no factor.

    Expert k of K then answers as a LoRA of rank r/K for dataset k alone, at the same alpha. What it reads is
    zero but for the place of the history's dataset (`core.encoders.joined`). A control: nothing is learnt.
    """

    def logits(self, z: Tensor) -> Tensor:
        """How much there is in each dataset's place, for all sites alike."""
        return z.view(len(z), self.experts, -1).abs().sum(-1).repeat(1, self.sites)

    def weigh(self, logits: Tensor) -> Tensor:
        """Everything to the place that holds something."""
        return F.one_hot(logits.argmax(-1), self.experts).to(logits)


class PushedGate(Gate):
    """A gate with somebody's hand on it: what each site's own weights are, and a change on top of them.

    Args:
        inner: the gate itself.
        push: (K,) added to the logits at every site; the weights sum to one again. Where all of it is zero,
            the weights are the gate's own to the bit.
        lock: the expert that has everything at every site, whatever else is pushed; None for no such one.
    """

    def __init__(self, inner: Gate, push: Sequence[float] | None, lock: int | None = None) -> None:
        super().__init__(inner.experts, inner.sites)
        self.inner, self.push, self.lock = inner, push, lock

    def logits(self, z: Tensor) -> Tensor:
        """The gate's own."""
        return self.inner.logits(z)

    def forward(self, z: Tensor) -> Tensor:
        """The changed weights for every row of z."""
        omega: Tensor = self.inner(z)
        if self.lock is not None:
            return F.one_hot(torch.full(omega.shape[:-1], self.lock), self.experts).to(omega)
        if self.push is None or not any(self.push):
            return omega
        push = torch.tensor(self.push, dtype=omega.dtype, device=omega.device)
        return torch.softmax(omega.log() + push, dim=-1)


class GivenGate(Gate):
    """Weights that were decided beforehand: what it reads, from a `GivenInput`, is omega itself."""

    def logits(self, z: Tensor) -> Tensor:
        """Their logarithms."""
        return z.log()

    def forward(self, z: Tensor) -> Tensor:
        """The weights as they were given."""
        return z.view(len(z), self.sites, self.experts)


def make_gate(config: GateConfig, width: int, experts: int, sites: int) -> Gate:
    """The configured gate, initialized from torch's generator.

    Args:
        config: kind and its settings.
        width: length of what the gate reads.
        experts: K.
        sites: from `adapt_layers`.
    """
    makers: dict[str, Callable[[], Gate]] = {
        "softmax": lambda: SoftmaxGate(width, experts, sites),
        "mlp": lambda: MlpGate(width, experts, sites),
        "top-k": lambda: TopKGate(width, experts, sites, config.kept),
        "noisy": lambda: NoisyGate(width, experts, sites, config.noise),
        "resnet": lambda: ResnetGate(width, experts, sites),
        "uniform": lambda: UniformGate(experts, sites),
        "random-fixed": lambda: RandomFixedGate(width, experts, sites),
        "dataset": lambda: DatasetGate(experts, sites),
    }
    return makers[config.kind]()


def gate_penalty(omega: Tensor, config: GateConfig) -> Tensor:
    """What the loss of one sample is raised by for how the gate weighs a batch; zero by default.

    balance * (K sum_k mean(omega_k)^2 - 1): zero when all experts are used alike over the batch.
    -entropy * H(omega) / log K: a positive weight keeps each sequence's experts mixed, a negative one
    sharpens the choice.

    Args:
        omega: (batch, sites, K).
        config: the two weights.
    """
    experts = omega.shape[-1]
    unevenness = experts * omega.mean(0).square().sum(-1).mean() - 1
    entropy = -(omega * omega.clamp_min(1e-9).log()).sum(-1).mean() / max(np.log(experts), 1e-9)
    penalty: Tensor = config.balance * unevenness - config.entropy * entropy
    return penalty


class RandomInput:
    """A vector that knows nothing of the user but stays the same for the same history (paper's ablation)."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, histories: Histories) -> Tensor:
        """(batch, width), each entry standard normal."""
        rows = [
            np.random.default_rng([*map(int, history)]).standard_normal(self.width) for history in histories
        ]
        return torch.tensor(np.stack(rows), dtype=torch.float32)


class GivenInput:
    """Expert weights for a `GivenGate`, as decided for each history beforehand.

    Args:
        weigh: gives omega, (batch, sites, K), for some histories.
    """

    def __init__(self, weigh: Callable[[Histories], Tensor]) -> None:
        self.weigh = weigh

    def __call__(self, histories: Histories) -> Tensor:
        """(batch, sites * K)."""
        return self.weigh(histories).flatten(1)


class MeanInput:
    """The mean over a history of vectors that each item has.

    Args:
        sums: (items, width) per item, the sum of its vectors.
        counts: (items,) how many they are; the mean is over all vectors, not over items.
    """

    def __init__(self, sums: Tensor, counts: Tensor) -> None:
        scale = (sums / counts[:, None]).square().mean().sqrt()
        self.sums, self.counts = sums / scale, counts
        self.width = sums.shape[1]

    def __call__(self, histories: Histories) -> Tensor:
        """(batch, width), scaled so that a typical entry is about one."""
        means = []
        for history in histories:
            items = torch.as_tensor([*map(int, history)], device=self.sums.device)
            means.append(self.sums[items].sum(0) / self.counts[items].sum())
        return torch.stack(means)
