"""Puts a LoRA adapter into a language model, and checks one that was saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from core.config.settings import AdapterConfig
from core.errors import ModelError
from core.lm.loading import LanguageModel, disable_cpu_packing, quiet
from core.lm.structure import choose_targets, holds_transposed, linear_outside


def check_settings(written: Any, own: Any, path: Path) -> None:
    """Raises `ModelError` unless peft's saved settings describe the adapter that is to take its weights."""
    names = ("base_model_name_or_path", "r", "lora_alpha", "target_modules", "layers_to_transform")
    for name in names:
        expected, found = getattr(own, name), written.get(name) if isinstance(written, dict) else None
        if name == "target_modules":
            found = sorted(map(str, found)) if isinstance(found, list) else found
            expected = sorted(expected)
        if found != expected:
            raise ModelError(
                f"{path} says {name} = {found}, and the run's own settings {expected}",
                "copy the folder anew, or train again",
            )


def recompute_in_backward(model: Any) -> None:
    """Makes the layers run again in the backward pass, in training mode only, instead of keeping activations.

    Not the reentrant kind: it would drop the gradients of whatever a layer does not take as an argument.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a new name for it exists from transformers 5.23 on
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def attach_adapter(llm: LanguageModel, config: AdapterConfig, lower: int) -> Any:
    """Wraps the language model in peft with LoRA on the layers above `lower`.

    Raises:
        ModelError: the model has no linear layers of the configured names.
    """
    from peft import LoraConfig, get_peft_model

    targets = choose_targets(llm.decoder, config.targets, AdapterConfig().targets)
    elsewhere = linear_outside(llm.model, targets)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=targets,
        exclude_modules=elsewhere or None,
        fan_in_fan_out=holds_transposed(llm.decoder),
        layers_to_transform=list(range(lower, llm.depth)) if lower else None,
        task_type="CAUSAL_LM",
    )
    with quiet():
        model = get_peft_model(llm.model, settings)
    disable_cpu_packing(model)
    return model
