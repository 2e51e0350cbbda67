"""`ilora-app bench`: all methods on the same cases, with live progress and a leaderboard at the end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from core.benchmark import Plan
    from core.config import RunConfig

DEFAULT_METHODS = "popularity,sasrec,zero-shot,lora,ilora"


def bench(
    dataset: Annotated[
        str, typer.Option(help="Dataset: a card's name (see `ilora-app data`).")
    ] = "movielens",
    methods: Annotated[str, typer.Option(help="Comma-separated methods.")] = DEFAULT_METHODS,
    preset: Annotated[str, typer.Option(help="quick, standard, paper, or auto (by hardware).")] = "auto",
    split: Annotated[str, typer.Option(help="paper (users are split) or leave-one-out.")] = "paper",
    objective: Annotated[
        str | None, typer.Option(help="listwise or language-model; the preset's if left out.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub name, folder or GGUF file; the embedded model if left out.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub model.")] = None,
    quantize: Annotated[str | None, typer.Option(help="nf4, int8 or none.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of training seeds, from 0 on.")] = 1,
    samples: Annotated[int | None, typer.Option(help="Training samples for LoRA and iLoRA.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate of LoRA and iLoRA.")] = None,
    experts: Annotated[int | None, typer.Option(help="K, iLoRA's experts; must divide the rank.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of the adapter, over all experts together.")] = None,
    layers: Annotated[int | None, typer.Option(help="Adapted upper layers; 0 for all.")] = None,
    encoder_prior: Annotated[
        bool | None,
        typer.Option(
            "--encoder-prior/--no-encoder-prior", help="Add the encoder's score, with a learned weight."
        ),
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Samples in one forward pass.")] = None,
    samples_seed: Annotated[int, typer.Option(help="Seed of the candidates.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for results and models.")] = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines, nothing else.")
    ] = False,
) -> None:
    """Benchmark recommenders on one dataset; a stopped benchmark goes on where it was."""
    from core.benchmark import Plan
    from core.errors import InputError

    if seeds < 1:
        raise InputError(f"--seeds is {seeds}", "give 1 or more")
    chosen, notice = _preset(preset)
    config = _config(
        chosen,
        data={"dataset": dataset, "split": split, "samples_seed": samples_seed},
        model={"name": model, "revision": revision, "quantize": quantize},
        adapter={"experts": experts, "rank": rank, "layers": layers},
        training={
            "objective": objective,
            "samples": samples,
            "learning_rate": learning_rate,
            "encoder_prior": encoder_prior,
            "micro_batch_size": micro_batch,
        },
    )
    plan = Plan(
        config=config,
        methods=tuple(name.strip() for name in methods.split(",") if name.strip()),
        seeds=tuple(range(seeds)),
        out=out,
        preset=chosen,
        command=shlex.join(["ilora-app", *sys.argv[1:]]),
    )
    if as_json:
        _run_json(plan, notice)
    else:
        _run_live(plan, notice)


def _preset(name: str) -> tuple[str, str]:
    """The preset to use, and what to say about it where the hardware chose."""
    from core.config import check_choice
    from core.presets import PRESETS

    check_choice(name, PRESETS, "preset")
    if name != "auto":
        return name, ""
    import torch

    from core.hardware import describe

    chosen = "standard" if torch.cuda.is_available() else "quick"
    return chosen, f"{describe()}: preset {chosen}"


def _config(preset: str, **parts: dict[str, Any]) -> RunConfig:
    """The preset's settings with the given options in place."""
    from core.presets import preset_config, with_overrides

    given = {
        part: {name: value for name, value in values.items() if value is not None}
        for part, values in parts.items()
    }
    return with_overrides(preset_config(preset), **given)


def _run_json(plan: Plan, notice: str) -> None:
    from core.errors import IloraError
    from core.events import Event, Failed, Notice
    from ilora_app.cli.stopping import stoppable

    def emit(event: Event) -> None:
        sys.stdout.write(event.to_json() + "\n")
        sys.stdout.flush()

    from core.benchmark import run_benchmark

    try:
        if notice:
            emit(Notice(notice))
        with stoppable() as should_stop:
            run_benchmark(plan, emit, should_stop)
    except IloraError as error:
        emit(Failed(error.title, error.hint))
        raise


def _run_live(plan: Plan, notice: str) -> None:
    from rich.console import Console

    from core.benchmark import run_benchmark
    from core.data import load_card
    from core.events import Notice
    from core.results import group_tables
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.leaderboard import print_leaderboards
    from ilora_app.render.progress import ProgressView

    with ProgressView(Console(stderr=True)) as view, stoppable() as should_stop:
        if notice:
            view(Notice(notice))
        results = run_benchmark(plan, view, should_stop)
    print_leaderboards(group_tables(results), {plan.config.data.dataset: load_card(plan.config.data.dataset)})
