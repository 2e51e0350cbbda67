"""A frozen norm answers as transformers' own, to the bit, and has the slopes of its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from core.lm.norms import KNOWN, FrozenNorm, RootMeanSquare, replace_norms
from tests import tiny

NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)


@pytest.mark.parametrize("kind", NORMS, ids=[kind.__name__ for kind in NORMS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_frozen_norm_answers_to_the_bit_and_teaches_alike(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    norm = kind(48, eps=1e-5).to(dtype).requires_grad_(False)
    nn.init.uniform_(norm.get_parameter("weight"), 0.5, 2)
    given = 3 * torch.randn(2, 7, 48, dtype=dtype)
    slope = torch.randn(2, 7, 48, dtype=dtype)
    answers, slopes = [], []
    for module in (norm, FrozenNorm(norm)):
        x = given.clone().requires_grad_()
        answers.append(module(x))
        answers[-1].backward(slope)
        slopes.append(x.grad)
    assert torch.equal(*answers)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.02}
    torch.testing.assert_close(*slopes, **close)


def test_the_slopes_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(8, dtype=torch.float64) + 0.5
    slope = torch.randn(3, 8, dtype=torch.float64)
    RootMeanSquare.apply(x, weight, 1e-5).backward(slope)
    plain = x.detach().clone().requires_grad_()
    (weight * plain * torch.rsqrt(plain.square().mean(-1, keepdim=True) + 1e-5)).backward(slope)
    torch.testing.assert_close(x.grad, plain.grad, rtol=1e-5, atol=1e-6)  # the inverse is in 32 bit


def test_every_norm_of_a_model_is_replaced_and_keeps_its_name() -> None:
    model = tiny.llama(layers=2).requires_grad_(False)
    ids = torch.arange(2, 14)[None]
    names, answer = set(dict(model.named_parameters())), model(input_ids=ids).logits
    assert replace_norms(model) == 5
    assert not [module for module in model.modules() if type(module).__name__ in KNOWN]
    assert set(dict(model.named_parameters())) == names
    assert torch.equal(model(input_ids=ids).logits, answer)
