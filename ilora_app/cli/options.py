"""The options that describe a run, declared once: `bench` and `train` offer the same ones."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_type_hints

import typer

from core.config.bounds import bounds_of
from core.config.choices import GATES, ITEM_TEXTS
from core.config.settings import IN_ONE_TABLE, PARTS

if TYPE_CHECKING:
    from core.config.settings import RunConfig


@dataclass(frozen=True)
class RunOption:
    """A setting of a run as an option of the command line."""

    name: str
    """The option, without dashes; `encoder_prior` becomes `--encoder-prior`."""
    path: str
    """Where the setting lives in a run's config, such as `training.samples`."""
    kind: type
    help: str
    words: Mapping[str, Any] = field(default_factory=dict)
    """What may be said in place of a number, and the number that it means."""

    def value(self, given: Any) -> Any:
        """The setting's value for what was given.

        Raises:
            InputError: it is neither a number nor one of the words.
        """
        if not self.words or given in self.words:
            return self.words.get(given, given)
        return _value_of(f"--{self.name}", self.kind, given)

    @property
    def parameter(self) -> inspect.Parameter:
        """What Typer reads; the value is None where the option was left out."""
        flag = f"--{self.name.replace('_', '-')}"
        flags = f"{flag}/--no-{flag[2:]}" if self.kind is bool else flag
        part, _, name = self.path.partition(".")
        bound = bounds_of(PARTS[part]).get(name)
        text = f"{self.help} \\[{bound}]" if bound else self.help
        kind = str if self.words else self.kind
        annotation: Any = Annotated[Optional[kind], typer.Option(flags, help=text)]  # noqa: UP045
        keyword = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, keyword, default=None, annotation=annotation)


RUN_OPTIONS = (
    RunOption(
        "dataset",
        "data.dataset",
        str,
        "Name of a dataset (see `ilora-app data`), or for bench all; movielens if left out.",
    ),
    RunOption(
        "split",
        "data.split",
        str,
        "paper (users are split; the default), leave-one-out, or temporal (one moment for all users).",
    ),
    RunOption(
        "test_from",
        "data.test_from",
        str,
        "Moment of --split temporal: a date, or the share of interactions before it; 0.9 if left out.",
    ),
    RunOption(
        "cold_items",
        "data.cold_items",
        float,
        "Share of the items that training never meets; as targets they are test sets of their own.",
    ),
    RunOption(
        "min_history",
        "data.min_history",
        int,
        "Ask about shorter histories, too, down to this length, as a test set of their own.",
    ),
    RunOption(
        "candidates",
        "data.candidates",
        str,
        "What the target is ranked against: 20 (drawn, as in the paper), catalogue (all new to the user), or "
        "for bench 20,catalogue: both, trained once.",
    ),
    RunOption(
        "retrieve",
        "data.retrieve",
        int,
        "How many items of the catalogue an encoder passes on to language models, or all; 100 if left out.",
        {"all": 0},
    ),
    RunOption(
        "users",
        "data.users",
        int,
        "Training users, a fixed draw; validation and test keep theirs. 0 or left out: all of them.",
    ),
    RunOption("samples_seed", "data.samples_seed", int, "Seed with which the candidates are drawn."),
    RunOption("model", "model.name", str, "Hub name, folder or GGUF file; the embedded model if left out."),
    RunOption("revision", "model.revision", str, "Revision of a hub model."),
    RunOption("quantize", "model.quantize", str, "nf4, int8 or none."),
    RunOption(
        "precision",
        "model.precision",
        str,
        "float32, bfloat16, float16, or auto: 16 bit where the hardware multiplies it.",
    ),
    RunOption(
        "item_text",
        "model.item_text",
        str,
        f"What the language model is told of an item: {', '.join(ITEM_TEXTS)}.",
    ),
    RunOption("objective", "training.objective", str, "listwise or language-model."),
    RunOption(
        "protocol",
        "answering.protocol",
        str,
        "rank (score all candidates), generate (write an answer), constrained (write a candidate).",
    ),
    RunOption("curriculum", "training.curriculum", bool, "Go from text-only to hybrid prompts (LLaRA)."),
    RunOption(
        "item_tokens",
        "training.item_tokens",
        bool,
        "Make each item a token of the model's vocabulary; the next token's likelihood ranks.",
    ),
    RunOption("samples", "training.samples", int, "Training samples for LoRA and iLoRA."),
    RunOption(
        "train_candidates",
        "training.candidates",
        int,
        "Candidates of a training sample, the target among them; fewer are quicker.",
    ),
    RunOption("negatives", "training.negatives", str, "random, or hard (of the encoder's best 100)."),
    RunOption("learning_rate", "training.learning_rate", float, "Peak learning rate of LoRA and iLoRA."),
    RunOption("micro_batch", "training.micro_batch_size", int, "Samples in one forward pass."),
    RunOption(
        "encoder",
        "encoder.kind",
        str,
        "What gate and item slots read: sasrec, esasrec, gru4rec or caser.",
    ),
    RunOption(
        "encoder_until",
        "encoder.until",
        str,
        "Under --split temporal: train encoders on what is before this date, or share of all, alone.",
    ),
    RunOption(
        "tune",
        "encoder.tune",
        bool,
        "Choose each encoder's rate and dropout on validation, of 4 settings; see also --trials.",
    ),
    RunOption("experts", "adapter.experts", int, "K, iLoRA's experts; must divide the rank."),
    RunOption(
        "gate",
        "gate.kind",
        str,
        "; ".join(f"{kind}: {about}" for kind, about in GATES.items()) + ".",
    ),
    RunOption(
        "gate_scope", "gate.scope", str, "Who shares the experts' weights: shared, per-layer, per-module."
    ),
    RunOption("gate_input", "gate.input", str, "What the gate reads: sequence, random, items or tokens."),
    RunOption("gate_kept", "gate.kept", int, "Experts that take part under --gate top-k."),
    RunOption("gate_balance", "gate.balance", float, "Weight of the loss term for even use of the experts."),
    RunOption(
        "gate_entropy", "gate.entropy", float, "Weight of the loss term for mixed experts per sequence."
    ),
    RunOption(
        "gate_rate",
        "training.gate_rate_multiplier",
        float,
        "The gate's learning rate, as a multiple of the others'.",
    ),
    RunOption("rank", "adapter.rank", int, "Rank of the adapter, over all experts together."),
    RunOption("layers", "adapter.layers", int, "Adapted upper layers; 0 for all."),
    RunOption(
        "encoder_prior", "training.encoder_prior", bool, "Add the encoder's score, with a learned weight."
    ),
)
"""What is left out is as the preset says."""


Precision = Annotated[
    str, typer.Option(help="What the language model is computed in: auto, float32, bfloat16 or float16.")
]
"""The option of commands that open a trained run."""


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with every run option beside its own; it receives them as keywords."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = own + [option.parameter for option in RUN_OPTIONS] + [_serveable()]

    @functools.wraps(command)
    def wrapped(*arguments: Any, **values: Any) -> None:
        command(*arguments, **values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter.replace(kind=keyword) for parameter in parameters]
    )
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _serveable() -> inspect.Parameter:
    """The option that stands for several settings at once."""
    text = (
        "Train what an ordinary server can rank with: adapters in all layers, one gate, prompts of text "
        "alone, ranked by the likelihood of titles (with --item-tokens: of one token for each item)."
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    annotation: Any = Annotated[bool, typer.Option("--serveable", help=text)]
    return inspect.Parameter("serveable", kind, default=False, annotation=annotation)


def given_settings(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options that were given, by part and field of a run's config; a card's path becomes its name.

    Raises:
        InputError: there is no such dataset, or another one of that name, or --serveable forbids a setting.
        DataError: the dataset's card breaks its contract.
    """
    parts: dict[str, dict[str, Any]] = {}
    for option in RUN_OPTIONS:
        if values[option.name] is not None:
            part, name = option.path.split(".")
            parts.setdefault(part, {})[name] = option.value(values[option.name])
    if values.get("serveable"):
        from core.config.serveable import with_serveable

        parts = with_serveable(parts)
    if dataset := parts.get("data", {}).get("dataset"):
        from core.data.card_files import named_card

        parts["data"]["dataset"] = named_card(dataset)
    return parts


def chat_settings(url: str | None, model: str | None, price: str | None) -> dict[str, Any]:
    """The options of the chat model that were given, by field of its config.

    Raises:
        InputError: the price is not two numbers.
    """
    from core.errors import InputError

    settings: dict[str, Any] = {"url": url, "model": model}
    if price is not None:
        try:
            settings["price_in"], settings["price_out"] = map(float, price.split(","))
        except ValueError as error:
            hint = "give the prices of a million prompt and answer tokens, such as 2.5,10"
            raise InputError(f"--chat-price is {price}", hint) from error
    return {name: value for name, value in settings.items() if value is not None}


def run_config(
    preset: str,
    values: Mapping[str, Any],
    swept: Mapping[str, Any] | None = None,
    chat: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The preset's settings with the given options in place, and over them one cell of a sweep.

    Args:
        preset: its name.
        values: every run option by its name, None where it was left out.
        swept: settings by path.
        chat: settings of the chat model.

    Raises:
        InputError: there is no such preset, or a value breaks a rule.
    """
    from core.config.presets import preset_config, with_overrides

    parts = given_settings(values)
    if chat:
        parts["chat"] = dict(chat)
    for path, value in (swept or {}).items():
        part, field = path.split(".")
        parts.setdefault(part, {})[field] = value
    return with_overrides(preset_config(preset), **parts)


def sweep_settings(sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """Every combination of the swept settings' values, by path in the config; an empty one without sweeps.

    Args:
        sweeps: each `name=value,value`, such as `gate=softmax,mlp`.

    Raises:
        InputError: a name is no setting that can be swept, is given twice, or a value is not of its kind.
    """
    from core.errors import InputError

    known = sweepable()
    axes: dict[str, list[Any]] = {}
    for sweep in sweeps:
        name, _, values = sweep.partition("=")
        path, kind = known.get(name.strip().replace("_", "-"), ("", str))
        if not path or not values:
            raise InputError(f"cannot sweep {sweep}", _sweep_hint(name.strip(), known))
        if path in axes:
            raise InputError(f"--sweep {name.strip()} is given twice", "list all values in one")
        axes[path] = [_value_of(name.strip(), kind, text.strip()) for text in values.split(",")]
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _sweep_hint(name: str, known: Mapping[str, tuple[str, type]]) -> str:
    """What to write instead: the name that was meant, or all options that can be swept."""
    close = difflib.get_close_matches(name, known, n=1)
    options = sorted({option.name.replace("_", "-") for option in RUN_OPTIONS} & known.keys())
    return (
        f"such as {close[0]}=VALUE,VALUE" if close else f"NAME=VALUE,VALUE with one of: {', '.join(options)}"
    )


def sweepable() -> dict[str, tuple[str, type]]:
    """Path and kind of every setting that may differ within one table, by each name it goes by.

    Those names are the option (`layers`), part and field (`encoder-layers`), and the field alone where only
    one part has it (`alpha`). What decides the cases is not among them: those are the same for all rows.
    What `distil` alone reads is not either.
    """
    from core.config.settings import RunConfig

    fields = [
        (part, name, kind)
        for part, holder in get_type_hints(RunConfig).items()
        for name, kind in get_type_hints(holder).items()
        if kind in (str, int, float, bool)
        and (part not in ("data", "distillation") or f"{part}.{name}" in IN_ONE_TABLE)
    ]
    names = [(option.name, option.path) for option in RUN_OPTIONS]
    held = [name for _, name, _ in fields]
    names += [(name, f"{part}.{name}") for part, name, _ in fields if held.count(name) == 1]
    names += [(f"{part}_{name}", f"{part}.{name}") for part, name, _ in fields]
    kinds = {f"{part}.{name}": kind for part, name, kind in fields}
    found: dict[str, tuple[str, type]] = {}
    for name, path in names:
        if path in kinds:
            found.setdefault(name.replace("_", "-"), (path, kinds[path]))
    return found


def _value_of(name: str, kind: type, text: str) -> Any:
    from core.errors import InputError

    if kind is bool:
        if text not in ("true", "false"):
            raise InputError(f"{name} is true or false, not {text}", f"such as {name}=true,false")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{name} must be {wanted}, not {text}", "separate values by commas") from error
