"""`ilora-app recommend`: a user's history, the gate's weights and the ranked candidates, from a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.config.bounds import RETRIEVED, TOP, brief
from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo
    from core.serving.session import Session


def recommend(
    user: Annotated[str | None, typer.Option(help="The user's id; not needed with --history.")] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Recommend for everybody; --out is the Parquet file to write.")
    ] = False,
    histories: Annotated[
        Path | None,
        typer.Option(help="With --all-users: a file of histories, JSON lines or Parquet."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; the newest iLoRA run if left out.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that `bench` or `train` wrote to; with --all-users, the result."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="With --all-users: folder that `bench` or `train` wrote to.")
    ] = None,
    position: Annotated[
        int | None, typer.Option(help="Which item of the user's sequence to predict; the last if left out.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="benchmark (its twenty candidates; the default for one user), catalogue (the encoder's "
            "best; the default with --history or --all-users) or raised (those whose score this history "
            "raises most above the average user's).",
        ),
    ] = None,
    candidates: Annotated[
        int,
        typer.Option(
            help=f"How many the encoder takes from the catalogue, with --from catalogue. \\[{RETRIEVED}]"
        ),
    ] = 100,
    history: Annotated[
        str | None,
        typer.Option(help="Another history: rows of the catalogue, oldest first, such as 12,55,102."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(help="Change of each expert's logit in every layer, such as --push=0.5,0,-0.25,0."),
    ] = None,
    lock: Annotated[
        int | None, typer.Option(help="Number of the expert, from 1, that gets all the weight.")
    ] = None,
    top: Annotated[int, typer.Option(help=f"How many to show. \\[{TOP}]")] = 10,
    engine: Annotated[
        str,
        typer.Option(
            help="With --all-users: `local`, this process, or `ray`, workers on this machine or a cluster."
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="With --engine ray: the cluster's head, HOST:6379, or auto; else RAY_ADDRESS, else Ray is "
            "started on this machine."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="With --engine ray: processes that hold the model; as many as GPUs, or cores."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="With --engine ray: show what Ray itself says.")
    ] = False,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Rank candidates with a trained run: for one user, with what its gate did, or for all users."""
    from core.config.checks import check_choice
    from core.errors import InputError
    from core.serving.protocol import BENCHMARK, CATALOGUE, SOURCES

    TOP.check(top)
    RETRIEVED.check(candidates)
    from ilora_app.cli.choosing import choose_run

    if all_users:
        if out is None:
            raise InputError("--all-users needs a file to write", "such as --out recs.parquet")
        single = (user, history, position, push, lock)
        if source not in (None, CATALOGUE) or any(value is not None for value in single):
            raise InputError(
                "--all-users recommends from the catalogue what comes next for everybody",
                "leave --user, --history, --position, --push, --lock and --from out",
            )
        from core.serving.all_users import Order, check_order
        from ilora_app.cli.recommend_all import check_engine, recommend_all_users

        order = Order(out, top, candidates, histories)
        check_order(order)
        cluster = check_engine(engine, address, workers, verbose)
        recommend_all_users(choose_run(run, runs or DEFAULT_OUT), order, precision, as_json, cluster)
        return
    if engine != "local" or address is not None or workers is not None or verbose:
        raise InputError("--engine, --address, --workers and --verbose are for --all-users", "leave them out")
    if user is None and history is None:
        raise InputError(
            "whose recommendations?",
            "give --user ID, --history for a taste of your own, or --all-users --out recs.parquet",
        )
    if histories is not None:
        raise InputError("--histories is for --all-users", "add --all-users, or leave --histories out")
    source = source or (CATALOGUE if user is None else BENCHMARK)
    check_choice(source, SOURCES, "--from")
    asked = Asked(user, position, source, candidates, *_edits(history, push, lock))
    info = choose_run(run, runs or out or DEFAULT_OUT)
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:
        from core.serving.opening import open_session

        session = open_session(info.path, view, precision, should_stop)
    record = _answer(session, info, asked, top)
    if as_json:
        say_json(record)
    else:
        from ilora_app.render.recommendation import print_recommendation

        print_recommendation(record)


@dataclass(frozen=True)
class Asked:
    """What the options ask for."""

    user: str | None
    position: int | None
    source: str
    candidates: int
    history: list[int] | None
    push: list[float] | None
    lock: int | None


def _edits(
    history: str | None, push: str | None, lock: int | None
) -> tuple[list[int] | None, list[float] | None, int | None]:
    """The history, the push and the lock (from 0) that were typed.

    Raises:
        InputError: one of them is no list of numbers.
    """
    from core.errors import InputError

    try:
        rows = None if history is None else [int(row) for row in history.split(",")]
    except ValueError:
        hint = "rows of the catalogue, such as 12,55,102"
        raise InputError(f"--history {history} is no list of numbers", hint) from None
    try:
        pushed = None if push is None else [float(by) for by in push.split(",")]
    except ValueError:
        raise InputError(f"--push {push} is no list of numbers", "such as --push=0.5,0,-0.25,0") from None
    return rows, pushed, None if lock is None else lock - 1


def _answer(session: Session, info: RunInfo, asked: Asked, top: int) -> dict[str, Any]:
    """What was asked, as plain values with titles.

    Raises:
        InputError: there is no such user or position.
    """
    from core.data.samples import history_of
    from core.errors import InputError
    from core.serving.protocol import Question

    user, position, history = asked.user, asked.position, asked.history
    if user is not None:
        sequence, rules = session.sequence(user), session.dataset.card.rules
        last = len(sequence.items) - 1
        position = last if position is None else position
        if not 1 <= position <= last:
            raise InputError(
                f"user {user} has no position {brief(position)} to predict", f"choose from 1 to {last}"
            )
        history = history or list(history_of(sequence, position, rules))
    question = Question(
        history or [],
        source=asked.source,
        user=user,
        position=position if user is not None else None,
        retrieve=asked.candidates,
        push=asked.push,
        lock=asked.lock,
    )
    ranked = session.rank(0, question)

    def item(index: int) -> dict[str, Any]:
        catalogue = session.dataset.catalogue
        return {
            "id": catalogue.ids[index],
            "title": catalogue.titles[index],
            "tags": list(catalogue.tags[index]),
        }

    return {
        "run": str(info.path),
        "dataset": info.dataset,
        "method": info.method,
        "seed": info.seed,
        "user": user,
        "part": session.parts.get(user, "train") if user is not None else None,
        "position": question.position,
        "from": asked.source,
        "encoder": ranked.encoder,
        "history": [item(index) for index in ranked.history],
        "gate": ranked.gate,
        "omega": ranked.omega,
        "target": None if ranked.target is None else item(ranked.target),
        "candidates": len(ranked.items),
        "ranking": [
            {
                "rank": place,
                **item(index),
                "score": score,
                "encoder_score": ranked.encoder_scores[place - 1],
                "target": index == ranked.target,
                "other_ranks": {
                    method: ranks[place - 1]
                    for method, ranks in ranked.ranks.items()
                    if method != info.method
                },
            }
            for place, (index, score) in enumerate(zip(ranked.items, ranked.scores, strict=True), start=1)
        ][:top],
        "milliseconds": ranked.milliseconds,
    }
