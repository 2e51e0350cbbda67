"""`ilora-app recommend`: a user's history, the gate's weights and the ranked candidates, from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo
    from core.serving.session import Session


def recommend(
    user: Annotated[str | None, typer.Option(help="The user's id.")] = None,
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
            help="benchmark (its twenty candidates; the default for one user) or catalogue (the encoder's "
            "best; what --all-users does).",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="How many the encoder takes from the catalogue, with --from catalogue.")
    ] = 100,
    top: Annotated[int, typer.Option(help="How many to show.")] = 10,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Rank candidates with a trained run: for one user, with what its gate did, or for all users."""
    from core.errors import InputError

    if top < 1:
        raise InputError(f"--top is {top}", "give 1 or more")
    from ilora_app.cli.choosing import choose_run

    if all_users:
        if out is None:
            raise InputError("--all-users needs a file to write", "such as --out recs.parquet")
        if user is not None or position is not None or source not in (None, "catalogue"):
            raise InputError(
                "--all-users recommends from the catalogue what comes next for everybody",
                "leave --user, --position and --from out",
            )
        from core.serving.all_users import Order, check_order
        from ilora_app.cli.recommend_all import recommend_all_users

        order = Order(out, top, candidates, histories)
        check_order(order)
        recommend_all_users(choose_run(run, runs or DEFAULT_OUT), order, precision, as_json)
        return
    if user is None:
        raise InputError("whose recommendations?", "give --user ID, or --all-users --out recs.parquet")
    if histories is not None:
        raise InputError("--histories is for --all-users", "add --all-users, or leave --histories out")
    info = choose_run(run, runs or out or DEFAULT_OUT)
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:
        from core.serving.opening import open_session

        session = open_session(info.path, view, precision, should_stop)
    record = _answer(session, info, user, position, source or "benchmark", candidates, top)
    if as_json:
        say_json(record)
    else:
        from ilora_app.render.recommendation import print_recommendation

        print_recommendation(record)


def _answer(
    session: Session,
    info: RunInfo,
    user: str,
    position: int | None,
    source: str,
    candidates: int,
    top: int,
) -> dict[str, Any]:
    """What was asked, as plain values with titles.

    Raises:
        InputError: there is no such user or position.
    """
    from core.data.samples import history_of
    from core.errors import InputError
    from core.serving.protocol import Question

    sequence, rules = session.sequence(user), session.dataset.card.rules
    last = len(sequence.items) - 1
    position = last if position is None else position
    if not 1 <= position <= last:
        raise InputError(f"user {user} has no position {position} to predict", f"choose from 1 to {last}")
    history = list(history_of(sequence, position, rules))
    question = Question(history, source=source, user=user, position=position, retrieve=candidates)
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
        "part": session.parts.get(user, "train"),
        "position": position,
        "from": source,
        "history": [item(index) for index in ranked.history],
        "gate": ranked.gate,
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
