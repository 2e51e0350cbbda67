"""Model cards: the README of a run folder or of an exported adapter, as the model hub reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from core.assets.known import MODELS, base_model
from core.config.settings import RunConfig
from core.data.cards import DatasetCard
from core.evaluation.metrics import in_order
from core.methods import record_of
from core.results.format import MetricValue, Result
from core.safe_text import markdown


def run_card(result: Result, config: RunConfig, dataset: DatasetCard) -> str:
    """The card of a run folder: what it is, its figures, its settings, how to load it, under which terms."""
    method = record_of(result.method)
    adapted, has_llm = method.has_adapter, method.needs_llm
    title = f"# {method.label} on {markdown(dataset.title)}"
    parts = [
        front_matter(result.method, config, dataset) if adapted else "",
        title,
        _what(result, config, dataset),
        _figures(result),
        _settings(result, config) if adapted else "",
        _loading(result, config) if adapted else "## Load it\n\n```\nilora-app evaluate FOLDER\n```",
        terms(config if has_llm else None, dataset),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def user_card(
    method: str,
    config: RunConfig,
    dataset: DatasetCard,
    user: str | None,
    history: Sequence[str],
    omega: str,
    size: str,
) -> str:
    """The card of an exported adapter.

    Args:
        method: what the adapter was trained as.
        config: the run's settings.
        dataset: what it was trained on.
        user: whose history was folded in; None where nobody's was (the whole adapter, uniform gate).
        history: the titles that the gate read, oldest first.
        omega: the gate's weights, in words.
        size: rank and what cutting it lost, in words.
    """
    name = record_of(method).label
    if user is None:
        title = f"# The {name} adapter trained on {markdown(dataset.title)}, as a plain LoRA"
        what = f"The whole adapter as every user would get it from a uniform gate. {size}"
    else:
        title = f"# {name} of user {markdown(user)} of {markdown(dataset.title)}, folded into a plain LoRA"
        what = (
            f"What the adapter becomes for this one history: the gate's factors and the scale are folded "
            f"into B, and `lora_alpha = r`. {size}\n\n{omega}\n\nThe history, oldest first: "
            + "; ".join(map(markdown, history))
            + "."
        )
    missing = (
        "## What is not in it\n\nThe gate, the sequence encoder, the item slots with their projector, and "
        "the score head. This folder changes how the language model reads and continues *text*, just as the "
        "adapter of the run does; it does not by itself give the run's ranking scores."
    )
    how = f"## Load it\n\n{peft_code(config)}\n\nServers that take a LoRA of this rank take it too."
    parts = [front_matter(method, config, dataset), title, what, missing, how, terms(config, dataset)]
    return "\n\n".join(parts) + "\n"


def front_matter(method: str, config: RunConfig, dataset: DatasetCard) -> str:
    """What the hub reads; a base model that is no hub model is named in the text only."""
    base = base_model(config.model.name)
    lines = [f"base_model: {base}"] if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base) else []
    tags = ["recommendation", "sequential-recommendation", "lora", dataset.name]
    lines += ["library_name: peft", "tags:", *(f"- {tag}" for tag in dict.fromkeys([method, *tags]))]
    return "\n".join(["---", *lines, "---"])


def peft_code(config: RunConfig) -> str:
    """How plain peft loads the folder that the card lies in."""
    base = base_model(config.model.name)
    return (
        "```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base, ensure_ascii=False)})\n"
        'model = PeftModel.from_pretrained(base, "FOLDER")\n'
        "```"
    )


def terms(config: RunConfig | None, dataset: DatasetCard) -> str:
    """Under which terms data and base model may be used."""
    licence = dataset.licence
    lines = [
        "## Terms of what it was made from\n",
        f"- Data: {markdown(dataset.title)} ({_link(licence.name, licence.url)}). "
        f"{markdown(licence.redistribution)} {markdown(dataset.citation)}",
    ]
    if config is not None:
        known = MODELS.get(config.model.name.lower())
        under = known.licence if known else "see its authors' terms"
        lines.append(
            f"- Base model: {markdown(base_model(config.model.name))} ({under}); its weights are not in here."
        )
    return "\n".join(lines)


def _link(words: str, address: str) -> str:
    """A link where the address is one of the web, else the words alone."""
    plain_address = re.fullmatch(r"(https?|file)://[^\s()<>\"]+", address)
    return f"[{markdown(words)}]({address})" if plain_address else markdown(words)


def _what(result: Result, config: RunConfig, dataset: DatasetCard) -> str:
    kind = record_of(result.method).about.format(
        encoder=record_of(config.encoder.kind).label, experts=config.adapter.experts
    )
    trained = f"Trained on {markdown(dataset.title)} ({result.split} split, seed {result.seed})"
    return f"{kind} {trained} by ilora-app, {result.created}."


def _asked(result: Result) -> str:
    """What was asked of the method, in words."""
    if result.protocol not in (None, "rank"):
        return f"Answers in words (protocol {result.protocol}) to which of 20 candidates comes next"
    rank = "Rank of the item that the user chose next among"
    if not result.whole:
        return f"{rank} 20 candidates"
    passed_on = f", of which the encoder's best {result.retrieve} are reranked" if result.retrieve else ""
    return f"{rank} all items that are new to the user{passed_on}"


def _figures(result: Result) -> str:
    metrics = in_order(metric for values in result.metrics.values() for metric in values)
    lines = [
        "## Figures\n",
        f"{_asked(result)}; 95 % intervals from resampling users; ties count against the method.\n",
        f"| test set | cases | {' | '.join(metrics)} |",
        f"|---|---|{'---|' * len(metrics)}",
    ]
    for name, values in result.metrics.items():
        n = next(iter(values.values())).n
        users = len({case.user for case in result.cases if case.set == name})
        shown = " | ".join(_figure(values.get(metric)) for metric in metrics)
        lines.append(f"| {name} | {n} of {users} users | {shown} |")
    lines += ["", f"Checksum of the cases: `{result.samples_sha256}`. All ranks are in `result.json`."]
    return "\n".join(lines + [f"\nNote: {markdown(note)}." for note in result.notes])


def _figure(value: MetricValue | None) -> str:
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _settings(result: Result, config: RunConfig) -> str:
    adapter, size = config.adapter, result.parameters
    layers = "all layers" if adapter.layers == 0 else f"the upper {adapter.layers} layers"
    gate = f", {adapter.experts} experts" if record_of(result.method).has_gate else ""
    base, targets = markdown(config.model.name), markdown(", ".join(adapter.targets))
    return (
        "## Settings\n\n"
        f"Base model {base} at {config.model.quantize}, computed in {result.precision}; "
        f"rank {adapter.rank}, alpha {adapter.alpha:g}{gate}, on {targets} of {layers}; "
        f"objective {config.training.objective}, {config.training.samples:,} training samples. "
        f"{size.trainable:,} trained parameters, {size.adapter:,} of them in A and B"
        + (f", {size.extra_over_lora:,} in the gate" if size.extra_over_lora else "")
        + ". `config.toml` holds every setting: `ilora-app train config.toml` repeats the run."
    )


def _loading(result: Result, config: RunConfig) -> str:
    gated = record_of(result.method).has_gate
    plain = (
        "the gate is then missing, so that everybody gets what a **uniform gate** gives: a plain LoRA"
        if gated
        else "the LoRA alone"
    )
    extra = "gate, projector" if gated else "projector"
    return (
        "## Load it\n\n"
        "As it was trained, from this folder alone (copied or moved as you like):\n\n"
        "```\nilora-app evaluate FOLDER\nilora-app recommend --run FOLDER --user ID\n"
        "ilora-app export FOLDER --user ID --out DIR\n```\n\n"
        f"In plain peft: {plain}. Item slots, projector and score head are not part of it either; the "
        f"figures above are not those of plain peft.\n\n{peft_code(config)}\n\n"
        "| file | holds |\n|---|---|\n"
        "| adapter_config.json, adapter_model.safetensors | A and B, as peft reads them |\n"
        f"| ilora.safetensors | {extra} and score head |\n"
        "| encoder.safetensors | the frozen sequence encoder |\n"
        "| run.json, config.toml | what was trained, and how |\n"
        "| result.json | every rank, the figures, versions and the command |"
    )
