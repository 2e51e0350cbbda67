"""The language model of a run with item tokens as plain programs load it, with larger tables."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.lm.token_prompt import TokenPrompt
from core.lm.token_ranker import ItemTokens

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

WEIGHTS_FILE = "model.safetensors"


@torch.no_grad()
def plain_weights(model: AdaptedModel, prompt: TokenPrompt, items: ItemTokens) -> dict[str, Tensor]:
    """Name of transformers -> weight, without adapters, on the CPU; both tables hold the items' rows.

    Quantized weights are what they are multiplied as, so that a plain program answers as the run does.

    Args:
        model: whose language model it is.
        prompt: says where the items' rows stand.
        items: gives the rows.
    """
    base = model.peft.get_base_model()
    found = {
        name.replace(".base_layer", ""): _dequantized(base, name, weight).to(model.llm.dtype).cpu()
        for name, weight in base.named_parameters()
        if not weight.requires_grad and ".lora_" not in name
    }
    everything = torch.arange(prompt.items, device=items.item_vectors.device)
    for table, rows in (
        (base.get_input_embeddings(), items.read(everything)),
        (base.get_output_embeddings(), items.said(everything)),
    ):
        name = next(name for name, module in base.named_modules() if module is table)
        own = table.get_parameter("weight").detach().to(model.llm.dtype).cpu()
        found[f"{name}.weight"] = with_rows(own, rows.to(own), prompt.first)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def with_rows(table: Tensor, rows: Tensor, first: int) -> Tensor:
    """A table (vocabulary, width) in which these rows stand from `first` on, longer where it has to be."""
    longer = table.new_zeros(max(len(table), first + len(rows)), table.shape[1])
    longer[: len(table)] = table
    longer[first : first + len(rows)] = rows
    return longer


def _dequantized(base: nn.Module, name: str, weight: nn.Parameter) -> Tensor:
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    layer: Any = base.get_submodule(name.rpartition(".")[0])
    found: Tensor = dequantize_bnb_weight(weight, getattr(layer, "state", None))
    return found.detach()


def plain_settings_of(model: AdaptedModel, vocabulary: int) -> Any:
    """The language model's own settings with so many tokens, two tables and no quantization."""
    settings = copy.deepcopy(model.llm.model.config)
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    for part in {id(own): own for own in (settings, settings.get_text_config())}.values():
        part.vocab_size, part.tie_word_embeddings = vocabulary, False
    settings.architectures = [type(model.peft.get_base_model()).__name__]
    settings.dtype = model.llm.dtype
    return settings


def save_plain(
    folder: Path, model: AdaptedModel, prompt: TokenPrompt, weights: Mapping[str, Tensor], vocabulary: int
) -> None:
    """Writes model and tokenizer, as transformers and servers load them, into an existing folder."""
    plain_settings_of(model, vocabulary).save_pretrained(folder)
    prompt.tokenizer.save_pretrained(folder)
    save_file(dict(weights), folder / WEIGHTS_FILE, {"format": "pt"})
