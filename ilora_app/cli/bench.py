"""`ilora-app bench`: all methods on the same cases, with live progress and a leaderboard at the end."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.config.bounds import JOBS, MINUTES, SEEDS, TRIALS
from core.config.choices import POOLS
from core.methods import CONTROLS, any_remote, control_methods, local_methods, method_names
from ilora_app.cli.choosing import DEFAULT_OUT, choose_preset
from ilora_app.cli.jobs import HELPER, check_jobs, help_with, other_jobs
from ilora_app.cli.options import chat_settings, run_config, sweep_settings, with_run_options
from ilora_app.cli.running import kept_command, run_plans
from ilora_app.cli.saying import say
from ilora_app.cli.trials import check_trials

if TYPE_CHECKING:
    from core.config.settings import RunConfig

DEFAULT_METHODS = ",".join(method_names(lambda method: method.by_default))


@with_run_options
def bench(
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated methods, or all (chat where it has an address); controls asks the trained "
            "iLoRA in five other ways."
        ),
    ] = DEFAULT_METHODS,
    preset: Annotated[str, typer.Option(help="quick, standard, paper, or auto (by time).")] = "auto",
    seeds: Annotated[int, typer.Option(help=f"Number of training seeds, from 0 on. \\[{SEEDS}]")] = 1,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="An ablation, such as gate=softmax,mlp; repeat it for a grid of all combinations."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Search every method's settings with N trials each, chosen on validation; also --tune N. "
            f"\\[{TRIALS}]",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Output folder of another benchmark: adapters start from those trained there, of the same "
            "method and seed, on any dataset.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Minutes that all of it may take; says what it leaves out.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(help=f"Processes that share the runs, each with its part of the cores. \\[{JOBS}]"),
    ] = 1,
    helper: Annotated[str | None, typer.Option(HELPER, hidden=True)] = None,
    chat_url: Annotated[
        str | None,
        typer.Option(
            envvar="ILORA_APP_CHAT_URL",
            help="Any OpenAI-compatible address for the method chat; its key is read from "
            "ILORA_APP_CHAT_KEY, from nowhere else.",
        ),
    ] = None,
    chat_model: Annotated[str | None, typer.Option(help="What that server calls the model.")] = None,
    chat_price: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="Prices of a million prompt and answer tokens, to state costs."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard event files into this folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results and models.")] = DEFAULT_OUT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines, nothing else.")
    ] = False,
    **given: Any,
) -> None:
    """Benchmark recommenders on one dataset or all; a stopped benchmark goes on where it was."""
    from core.errors import InputError, ResultError
    from core.methods import check_method

    SEEDS.check(seeds)
    if budget is not None:
        MINUTES.check(budget)
    if sweep and budget is not None:
        raise InputError(
            "--budget would cut each setting of a sweep differently",
            "give all of them the same training with --samples",
        )
    if trials is not None:
        tune = given["tune"] is not None
        alone = {
            "--sweep": bool(sweep),
            "--budget": budget is not None,
            "--start-from": start_from is not None,
        }
        check_trials(trials, {**alone, "--tune alone": tune})
    check_jobs(jobs, {"--budget": budget is not None, "--tensorboard": tensorboard is not None})
    datasets, pools = _datasets(given["dataset"]), _pools(given["candidates"])
    if len(pools) > 1 and budget is not None:
        raise InputError(
            "--budget would cut the training of the two tables differently",
            "give it the same training with --samples",
        )
    asked = _methods(methods, chat_url)
    for method in asked:
        check_method(method)
    chat = _chat(asked, chat_url, chat_model, chat_price)

    def configs(name: str) -> list[RunConfig]:
        return [
            run_config(name, {**given, "dataset": dataset, "candidates": pool}, cell, chat)
            for dataset in datasets
            for pool in pools
            for cell in sweep_settings(sweep or [])
        ]

    runs = [(method, seed) for seed in range(seeds) for method in asked]
    chosen, notice = choose_preset(preset, configs, runs, out)
    from core.benchmark.run import Plan
    from core.benchmark.starts import starting, starts_in

    starts = starts_in(start_from, runs) if start_from is not None else {}
    command = helper or kept_command(sys.argv[1:])
    plans = [
        Plan(
            config=starting(config, starts) if starts else config,
            methods=asked,
            seeds=tuple(range(seeds)),
            out=out,
            preset=chosen,
            command=command,
            budget=None if budget is None else budget / len(datasets),
            trials=trials or 0,
            starts=starts,
            jobs=jobs,
        )
        for config in configs(chosen)
    ]
    if helper is not None:
        help_with(plans)
        return
    word = "setting" if sweep else "table" if len(pools) > 1 else "dataset"
    places = [f"{word} {place} of {len(plans)}" for place in range(1, len(plans) + 1) if len(plans) > 1]
    notices = ["; ".join(filter(None, parts)) for parts in itertools.zip_longest([notice], places)]
    with other_jobs(jobs, chosen, command):
        found = run_plans(plans, notices, as_json, tensorboard)
    results = list({one.key: one for one in found}.values())
    if not as_json:
        from core.data.card_files import load_card
        from core.results.tables import group_tables
        from ilora_app.cli.beyond import print_beyond
        from ilora_app.cli.results import report_folder
        from ilora_app.render.leaderboard import print_leaderboards

        cards = {card.name: card for card in (load_card(plan.config.data.dataset) for plan in plans)}
        tables = group_tables(results)
        print_leaderboards(tables, cards)
        if whole := [table for table in tables if table.whole]:
            try:
                print_beyond(whole, [out], None, as_json=False, as_csv=False)
            except ResultError as error:  # the table stands without it
                say(f"left out, what methods recommend beside hits: {error.title}", err=True)
        page = next(path for path in report_folder(out) if path.suffix == ".html")
        say(f"report: {page}", err=True)


def _datasets(name: str | None) -> list[str | None]:
    """The dataset that was asked for; `all` is every one that comes with the program."""
    from core.data.card_files import shipped_cards

    return [*shipped_cards()] if name == "all" else [name]


def _pools(candidates: str | None) -> list[str | None]:
    """What targets are ranked against; of both the catalogue last, which takes the models that are there."""
    named = [name.strip() for name in (candidates or "").split(",")]
    return [*POOLS] if len(named) > 1 and {*named} == {*POOLS} else [candidates]


def _methods(names: str, chat_url: str | None) -> tuple[str, ...]:
    """The methods of a comma-separated list, in which `all` and `controls` stand for several.

    `all` is every method of its own, the chat model if it has an address.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()]
    several = {CONTROLS: control_methods()}
    if {*listed} - {CONTROLS} == {"all"}:  # beside it nothing else needs a name
        remote = method_names(lambda method: method.is_remote) if chat_url else ()
        several["all"] = method_names(lambda method: method.name in {*remote, *local_methods()})
    return tuple(dict.fromkeys(method for name in listed for method in several.get(name, (name,))))


def _chat(methods: tuple[str, ...], url: str | None, model: str | None, price: str | None) -> dict[str, Any]:
    """The chat model's settings where it takes part; an address in the environment alone asks for nothing.

    Raises:
        InputError: it is described but not asked for.
    """
    from core.errors import InputError

    if any_remote(methods):
        return chat_settings(url, model, price)
    for option, value in (("--chat-model", model), ("--chat-price", price)):
        if value is not None:
            raise InputError(
                f"{option} is given, but the method chat takes no part",
                "name it: --methods popularity,chat --chat-url https://host/v1",
            )
    return {}
