"""`bench --tune N`, and `results --trials`, which shows what it tried."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ilora_app.cli.saying import say, say_json

TUNE, TRIALS = "--tune", "--trials"


def with_number_of_trials(arguments: Sequence[str]) -> list[str]:
    """A command line in which `bench --tune 20` is `bench --trials 20`; `--tune` alone stays a switch."""
    given = list(arguments)
    if given[:1] != ["bench"]:
        return given
    for place, argument in enumerate(given):
        option, equals, value = argument.partition("=")
        if option != TUNE:
            continue
        if equals:
            given[place] = f"{TRIALS}={value}"
        elif given[place + 1 : place + 2] and _is_number(given[place + 1]):
            given[place] = TRIALS
    return given


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def check_trials(trials: int, alone: dict[str, bool]) -> None:
    """Raises `InputError` unless such a search can be made.

    Args:
        trials: of each method.
        alone: options that it excludes, and whether they were given.
    """
    from core.benchmark.tuning import check_ready
    from core.config.bounds import TRIALS as BOUND
    from core.errors import InputError

    BOUND.check(trials)
    for option, given in alone.items():
        if given:
            raise InputError(f"--tune {trials} and {option} exclude each other", "give one of them")
    check_ready()


def print_trials(folders: Sequence[Path], dataset: str | None, as_json: bool, as_csv: bool) -> None:
    """Every trial that `bench --tune N` made below these folders.

    Raises:
        ResultError: there are none.
    """
    from core.errors import ResultError
    from core.results.trials import load_searches
    from ilora_app.render.terminal import print_text_table
    from ilora_app.render.trials import records, text_table, trials_csv

    found, problems = load_searches(folders)
    for problem in problems:
        say(f"left out: {problem}", err=True)
    searches = [search for search in found if dataset in (None, search.dataset)]
    if not searches:
        where = ", ".join(map(str, folders))
        raise ResultError(f"no trials in {where}", "ilora-app bench --tune 20 makes some")
    if as_json:
        say_json({"searches": records(searches), "problems": problems})
    elif as_csv:
        sys.stdout.write(trials_csv(searches))
    else:
        for search in searches:
            print_text_table(text_table(search))
            say("")
