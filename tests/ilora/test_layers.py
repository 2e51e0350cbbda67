"""A gated adapter is LoRA where the gate is uniform, and one expert's LoRA where it is one-hot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

from core.ilora import layers
from core.ilora.layers import ADAPTER, ExpertLora, ExpertWeights, Frozen, LowRank, adapt_layers, expert_slice
from core.lm.doctor import quantized_linear
from core.lm.loading import disable_cpu_packing
from tests import tiny

RANK, EXPERTS = 8, 4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

Make = Callable[[], Any]


@pytest.fixture(params=["fp32", "nf4"])
def base(request: pytest.FixtureRequest, tiny_model: Path) -> Make:
    """Makes the same frozen model again and again: whole, or in 4 bit."""
    if request.param == "fp32":
        return lambda: tiny.llama(layers=2).requires_grad_(False)
    return lambda: tiny.nf4(tiny_model)


def with_lora(model: Any, rank: int = RANK) -> Any:
    """peft's own LoRA with random A and B, the same for every model."""
    settings = LoraConfig(r=rank, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, settings)
    disable_cpu_packing(adapted)
    tiny.randomize(adapted)
    return adapted.eval()


def gated(model: Any, experts: int = EXPERTS, rank: int = RANK) -> tuple[Any, ExpertWeights]:
    """The same LoRA with a gate between A and B."""
    adapted = with_lora(model, rank)
    weights = adapt_layers(adapted, experts)
    assert weights is not None
    return adapted, weights


def tokens(batch: int = 2, length: int = 9, seed: int = 0) -> Tensor:
    return torch.randint(2, 300, (batch, length), generator=torch.Generator().manual_seed(seed))


def uniform(batch: int = 2, experts: int = EXPERTS) -> Tensor:
    return torch.full((batch, experts), 1 / experts)


def backward(model: Any, ids: Tensor, gate: AbstractContextManager[None]) -> dict[str, Tensor]:
    """Gradients of A and B after one backward pass of the language-model loss."""
    model.train()
    model.zero_grad(set_to_none=True)
    with gate:
        model(input_ids=ids, labels=ids).loss.backward()
    model.eval()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert len(expected) >= 2 * 2 * len(TARGETS)  # A and B, at least two layers
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=2e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- a uniform gate is LoRA ------------------------------------------------------------------------------


@torch.no_grad()
def test_a_uniform_gate_answers_as_lora(base: Make) -> None:
    lora, (ours, weights) = with_lora(base()), gated(base())
    expected = lora(tokens()).logits
    with weights.use(uniform()):
        found = ours(tokens()).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with lora.disable_adapter():
        assert (lora(tokens()).logits - expected).abs().max() > 0.1  # the adapter matters here


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_a_uniform_gate_teaches_as_lora(base: Make, checkpointing: bool) -> None:
    lora, (ours, weights) = with_lora(base()), gated(base())
    expected = backward(lora, tokens(), nullcontext())
    if checkpointing:
        ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        ours.enable_input_require_grads()
    found = backward(ours, tokens(), weights.use(uniform()))
    assert_same(found, expected)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_a_gate_that_differs_between_users_teaches_as_two_users_apart(
    base: Make, checkpointing: bool
) -> None:
    omega = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    ours, weights = gated(base())
    apart = [backward(ours, tokens()[[row]], weights.use(omega[[row]])) for row in range(2)]
    if checkpointing:
        ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        ours.enable_input_require_grads()
    together = backward(ours, tokens(), weights.use(omega))
    assert_same(together, {name: (apart[0][name] + apart[1][name]) / 2 for name in apart[0]})


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_a_uniform_gate_writes_the_same_text(base: Make, beams: int) -> None:
    lora, (ours, weights) = with_lora(base()), gated(base())
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams}
    ids, mask = tokens(), torch.ones(2, 9, dtype=torch.long)
    expected = lora.generate(input_ids=ids, attention_mask=mask, **settings)
    with weights.use(uniform()):
        found = ours.generate(input_ids=ids, attention_mask=mask, **settings)
    assert torch.equal(found, expected)


@torch.no_grad()
def test_each_prompt_keeps_its_own_gate_under_beam_search(base: Make) -> None:
    ours, weights = gated(base())
    omega = torch.eye(EXPERTS)[[0, 3]]
    settings: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "num_beams": 2}
    with weights.use(omega):
        together = ours.generate(input_ids=tokens(), attention_mask=torch.ones(2, 9), **settings)
    for row in range(2):
        with weights.use(omega[[row]]):
            alone = ours.generate(input_ids=tokens()[[row]], attention_mask=torch.ones(1, 9), **settings)
        kept = min(alone.shape[1], together.shape[1])
        assert torch.equal(together[row, :kept], alone[0, :kept])


@torch.no_grad()
def test_one_expert_is_lora(base: Make) -> None:
    lora, (ours, weights) = with_lora(base()), gated(base(), experts=1)
    with weights.use(torch.ones(2, 1)):
        found = ours(tokens()).logits
    torch.testing.assert_close(found, lora(tokens()).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_a_gate_the_layer_is_pefts_own_lora(base: Make) -> None:
    expected = with_lora(base())(tokens()).logits
    ours = with_lora(base())
    assert adapt_layers(ours, None) is None
    torch.testing.assert_close(ours(tokens()).logits, expected, rtol=1e-4, atol=1e-4)


# --- a one-hot gate is one expert ------------------------------------------------------------------------


@pytest.mark.parametrize("expert", range(EXPERTS))
@torch.no_grad()
def test_a_one_hot_gate_is_lora_with_that_slice_alone(base: Make, expert: int) -> None:
    (ours, weights), alone = gated(base()), with_lora(base())
    for layer in (module for module in alone.modules() if isinstance(module, LoraLayer)):
        for matrix, dim in ((layer.lora_A[ADAPTER].weight, 0), (layer.lora_B[ADAPTER].weight, 1)):
            kept = expert_slice(matrix, expert, EXPERTS, dim).clone()
            matrix.zero_()
            expert_slice(matrix, expert, EXPERTS, dim).copy_(kept)
        layer.scaling[ADAPTER] *= EXPERTS  # an expert is scaled by alpha / (r / K)
    with weights.use(torch.eye(EXPERTS)[[expert] * 2]):
        found = ours(tokens()).logits
    torch.testing.assert_close(found, alone(tokens()).logits, rtol=1e-4, atol=2e-4)


@torch.no_grad()
def test_the_experts_add_up_as_the_paper_writes_it() -> None:
    """sum over k of omega_k B_k A_k x, one expert at a time, on one layer."""
    model, weights = gated(tiny.llama(layers=1).requires_grad_(False))
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    x, omega = torch.randn(3, 5, tiny.WIDTH), torch.softmax(torch.randn(3, EXPERTS), -1)
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    expected = layer.base_layer(x)
    for k in range(EXPERTS):
        move = x @ expert_slice(a, k, EXPERTS, 0).T @ expert_slice(b, k, EXPERTS, 1).T
        expected = expected + omega[:, k, None, None] * (16 / (RANK / EXPERTS)) * move
    with weights.use(omega):
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


# --- the gate's gradient -----------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_the_gates_gradient_is_the_slope_of_the_loss(checkpointing: bool) -> None:
    model, weights = gated(tiny.llama(layers=2, dtype=torch.float64).requires_grad_(False))
    model.double().train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    start = torch.randn(2, EXPERTS, dtype=torch.float64, requires_grad=True)
    readout = torch.randn(2, 9, 320, dtype=torch.float64)

    def loss(values: Tensor) -> float:
        with weights.use(torch.softmax(values, -1)):
            answer = (model(input_ids=tokens()).logits * readout).sum()
            if torch.is_grad_enabled():
                answer.backward()
        return float(answer.detach())

    loss(start)
    assert start.grad is not None
    assert start.grad.abs().min() > 0.01
    step = 1e-3  # the model's norms compute in 32 bit, so no finer
    with torch.no_grad():
        for row in range(2):
            for expert in range(EXPERTS):
                move = torch.zeros_like(start)
                move[row, expert] = step
                slope = (loss(start + move) - loss(start - move)) / (2 * step)
                assert float(start.grad[row, expert]) == pytest.approx(slope, rel=0.02, abs=0.1)


# --- what must not pass in silence -------------------------------------------------------------------------


@torch.no_grad()
def test_a_missing_gate_is_an_error(base: Make) -> None:
    ours, weights = gated(base())
    with pytest.raises(RuntimeError, match="without expert weights"):
        ours(tokens())
    with weights.use(uniform()):
        ours(tokens())
    with pytest.raises(RuntimeError, match="without expert weights"):
        ours(tokens())  # the block has ended


def test_a_gate_that_is_gone_before_backward_is_an_error_under_checkpointing() -> None:
    ours, weights = gated(tiny.llama(layers=2).requires_grad_(False))
    ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ours.enable_input_require_grads()
    ours.train()
    with weights.use(uniform()):
        loss = ours(input_ids=tokens(), labels=tokens()).loss
    with pytest.raises(RuntimeError, match="without expert weights"):
        loss.backward()


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_a_gate_for_another_batch_is_an_error(batch: int) -> None:
    ours, weights = gated(tiny.llama(layers=1).requires_grad_(False))
    with weights.use(uniform(batch=2)), pytest.raises(RuntimeError, match="met a batch of"):
        ours(tokens(batch=batch))


@pytest.mark.parametrize(
    "omega", [torch.ones(EXPERTS), torch.ones(2, EXPERTS + 1), torch.ones(2, 2, EXPERTS)]
)
def test_a_gate_of_another_shape_is_an_error(omega: Tensor) -> None:
    with pytest.raises(ValueError, match="omega has shape"), ExpertWeights(EXPERTS, RANK).use(omega):
        pass


def test_the_outer_gate_is_back_after_an_inner_block_even_if_it_fails() -> None:
    weights = ExpertWeights(2, 2)
    with weights.use(torch.tensor([[1.0, 0.0]])):
        with pytest.raises(ZeroDivisionError), weights.use(torch.tensor([[0.0, 1.0]])):
            raise ZeroDivisionError
        assert weights.factors_for(1).tolist() == [[2.0, 0.0]]


def test_beams_repeat_each_sequences_own_weights() -> None:
    weights = ExpertWeights(2, 4)
    with weights.use(torch.tensor([[1.0, 0.0], [0.25, 0.75]])):
        assert weights.factors_for(4).tolist() == [[2, 2, 0, 0]] * 2 + [[0.5, 0.5, 1.5, 1.5]] * 2


@pytest.mark.parametrize("how", ["merge_and_unload", "merge_adapter"])
def test_a_gated_adapter_refuses_to_be_merged(base: Make, how: str) -> None:
    ours, _ = gated(base())
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    with pytest.raises(RuntimeError, match="not merged"):
        getattr(ours, how)()
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_experts_must_divide_the_rank_and_there_must_be_layers() -> None:
    with pytest.raises(ValueError, match="3 experts do not divide rank 8"):
        adapt_layers(with_lora(tiny.llama(layers=1)), 3)
    with pytest.raises(ValueError, match="no LoRA layer"):
        adapt_layers(tiny.llama(layers=1), 4)


# --- what we take from peft --------------------------------------------------------------------------------


def test_pefts_private_variant_is_what_our_layer_relies_on() -> None:
    """The contract: a variant per adapter name, asked for the whole adapter's output, and for every merge."""
    for method in ("forward", "merge_safe", "merge_unsafe", "unmerge"):
        assert hasattr(LoraVariant, method), method
        assert getattr(ExpertLora, method) is not getattr(LoraVariant, method), method
    seen = []

    class Watcher(ExpertLora):
        def forward(self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **more: Any) -> Tensor:
            seen.append((active_adapter, tuple(x.shape), tuple(result.shape)))
            return result

    model = with_lora(tiny.llama(layers=1))
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert len(layers) == len(TARGETS)
    for layer in layers:
        assert {"lora_A", "lora_B", "lora_dropout", "scaling", "r", "lora_variant"} <= set(dir(layer))
        assert layer.scaling[ADAPTER] == 16 / RANK
        layer.lora_variant[ADAPTER] = Watcher(None)
    with torch.no_grad(), model.disable_adapter():
        plain = model(tokens()).logits
    assert not seen
    with torch.no_grad():
        adapted = model(tokens()).logits
    assert len(seen) == len(TARGETS)
    assert seen[0] == (ADAPTER, (2, 9, tiny.WIDTH), (2, 9, tiny.WIDTH))
    assert torch.equal(plain, adapted)  # nothing is added behind the variant's back


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    torch.manual_seed(0)
    yield


@pytest.mark.parametrize("sequences", [1, 3], ids=["one scale", "a scale for each sequence"])
def test_the_low_rank_sum_has_the_slopes_it_says(sequences: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5, 7), (3, 5, 6), (4, 6), (7, 4), (sequences, 4)]  # result, x, A, B, scale
    given = [
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes
    ]
    result, x, down, up, scale = given
    expected = result + ((x @ down.T) * scale[:, None]) @ up.T
    torch.testing.assert_close(LowRank.apply(*given), expected)
    assert torch.autograd.gradcheck(LowRank.apply, given)


def test_a_frozen_layer_and_its_adapter_in_one_step_have_the_slopes_of_both() -> None:
    generator = torch.Generator().manual_seed(0)
    frozen = nn.Linear(6, 7, bias=False, dtype=torch.float64)
    shapes = [(3, 5, 6), (4, 6), (7, 4), (3, 4)]  # x, A, B, scale
    given = [
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes
    ]
    x, down, up, scale = given

    def at_once(*given: Tensor) -> Tensor:
        with torch.no_grad():
            result = frozen(given[0])
        answer: Tensor = LowRank.apply(result, *given, 2.0, Frozen(frozen))
        return answer

    torch.testing.assert_close(at_once(*given), frozen(x) + 2 * ((x @ down.T) * scale[:, None]) @ up.T)
    assert torch.autograd.gradcheck(at_once, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kept_weight_answers_to_the_bit_as_one_that_is_unpacked_anew(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(192, 128, generator=generator)
    layer = quantized_linear("nf4", weight, torch.device("cpu"), dtype)
    anew, kept = Frozen(layer), Frozen(layer, keeps=True)
    x = torch.randn(3, 5, 128, generator=generator).to(dtype)
    for _ in range(2):  # the first fills it
        assert torch.equal(kept(x), anew(x))
        assert torch.equal(kept.weight(dtype), anew.weight(dtype))
    assert kept.weight(dtype) is kept.weight(dtype)
    assert torch.equal(kept.weight(torch.float64), anew.weight(torch.float64))


def test_the_weights_of_a_large_model_are_not_kept(base: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen_of(limit: int) -> list[Frozen | None]:
        monkeypatch.setattr(layers, "KEPT", limit)
        model = with_lora(base())
        adapt_layers(model, None)
        found = [module for module in model.modules() if isinstance(module, LoraLayer)]
        return [module.lora_variant[ADAPTER].frozen for module in found]

    assert all(frozen_of(10**9))
    assert not any(frozen_of(10))
