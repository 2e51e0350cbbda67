"""Writes N adapters for all users: each is that of a cluster of gates, and a user gets the nearest one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.assets.known import base_model
from core.config.serveable import obstacles
from core.data.people import Person, count_people, people
from core.errors import InputError, Interrupted
from core.files import atomic_path
from core.ilora.folding import save_updates
from core.ilora.gate_clusters import GateClusters, cluster_gates, folded_for, read_gates
from core.ilora.layers import ADAPTER
from core.recommenders.batching import spaced
from core.runs.exporting import check_destination
from core.runs.exporting_tokens import token_base
from core.runs.prompt_files import PROMPT, write_prompt
from core.runs.store import MODEL_CARD, OpenRun
from core.stages import UNWATCHED, Watch

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

FITTED = 4096
"""Training histories that clusters are made of, at most."""
MOST = 128
"""Adapters that may be asked for."""
BATCH = 1024
"""Users whose gates are read at once."""
INDEX = "index.json"


@dataclass(frozen=True)
class ExportedClusters:
    """What was written."""

    folder: Path
    adapters: tuple[str, ...]
    """The adapters' folders, below `folder`."""
    users: tuple[int, ...]
    """How many users each adapter has."""
    left_out: int
    """Users without a known item, who have no adapter."""
    unknown: int
    """Items of histories that the catalogue does not have; they were passed over."""
    rank: int
    bytes: int


def check_clusters(count: int) -> None:
    """Raises `InputError` unless so many clusters can be made."""
    if not 1 <= count <= MOST:
        raise InputError(f"{count} clusters were asked for", f"give 1 to {MOST}")


def gated_model(run: OpenRun) -> AdaptedModel:
    """The model of an iLoRA run.

    Raises:
        InputError: the run has no gate.
    """
    model: AdaptedModel | None = getattr(run.recommender, "model", None)
    if model is None or getattr(model, "gate", None) is None:
        raise InputError(f"a run of {run.info.method} has no adapter for each user", "give an iLoRA run")
    return model


def fit_clusters(run: OpenRun, counts: Sequence[int], watch: Watch = UNWATCHED) -> dict[int, GateClusters]:
    """Clusters of the gates of training histories, for each number asked for; the run's seed draws starts.

    Validation and test users take no part, so that what clusters cost can be measured on them.

    Raises:
        InputError: the run has no gate, or a number cannot be used.
        Interrupted: the watch asked to stop.
    """
    for count in counts:
        check_clusters(count)
    histories = [case.history for case in spaced(run.samples.train, FITTED)]
    omega = read_gates(gated_model(run), histories, watch)
    return watch.wait("clusters", lambda: {n: cluster_gates(omega, n, run.info.seed) for n in counts})


def export_clusters(
    run: OpenRun, out: Path, count: int, histories: Path | None = None, watch: Watch = UNWATCHED
) -> ExportedClusters:
    """Writes the clusters' adapters, and which one each user gets, into a new folder.

    Args:
        run: an iLoRA, with one gate or several.
        out: a folder that is not there yet, or empty.
        count: adapters wanted; fewer are made where fewer gates are different.
        histories: a file of histories; the dataset's own users without one, each with the newest history.
        watch: told how far it is, and may stop it.

    Raises:
        InputError: the run has no gate, a number cannot be used, a user is there twice, or the folder cannot
            be written.
        DataError: the file of histories is not as it should be.
        Interrupted: stopped; nothing is written.
    """
    check_destination(out)
    model = gated_model(run)
    clusters = fit_clusters(run, [count], watch)[count]
    names = tuple(f"cluster-{place:04}" for place in range(len(clusters.centres)))
    tokens = token_base(model, run.info.config.model, "peft")
    base = tokens.name if tokens else base_model(run.info.config.model.name)
    rank = run.info.config.adapter.rank
    index: dict[str, str] = {}
    left_out = unknown = 0
    for batch, labels in _labelled(run, model, clusters, histories, watch):
        unknown += sum(person.unknown for person in batch)
        left_out += sum(not person.history for person in batch)
        known = [person.user for person in batch if person.history]
        index |= {user: names[label] for user, label in zip(known, labels, strict=True)}
    stage = watch.stage("export", len(names))
    try:
        with atomic_path(out) as folder:
            folder.mkdir()
            for name, centre in zip(names, clusters.centres, strict=True):
                if watch.should_stop():
                    raise Interrupted
                (folder / name).mkdir()
                save_updates(folder / name, folded_for(model, centre), model.peft.peft_config[ADAPTER], base)
                stage.advance()
            if tokens:
                tokens.write(folder)
            if not obstacles(run.info.config, folded=True):
                write_prompt(folder, model, run.dataset, names, base)
            (folder / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")
            (folder / MODEL_CARD).write_text(_readme(run, names, len(index), rank, base), encoding="utf-8")
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", "choose another folder with --out"
        ) from error
    taken = list(index.values())
    users = tuple(taken.count(name) for name in names)
    return ExportedClusters(out, names, users, left_out, unknown, rank, size)


def _labelled(
    run: OpenRun, model: AdaptedModel, clusters: GateClusters, histories: Path | None, watch: Watch
) -> Iterator[tuple[list[Person], list[int]]]:
    """Some users at a time, with the cluster of each who has a known item."""
    total = count_people(run.dataset, histories, watch)
    users, stage = people(run.dataset, histories), watch.stage("gates", total)
    while batch := list(islice(users, BATCH)):
        if watch.should_stop():
            raise Interrupted
        known = [person.history for person in batch if person.history]
        labels = clusters.labels(read_gates(model, known)) if known else np.empty(0, dtype=np.int64)
        yield batch, labels.tolist()
        stage.advance(len(batch))


def vllm_rank(rank: int) -> int:
    """The least of the ranks that vLLM knows that is not smaller."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), rank)


def _readme(run: OpenRun, names: Sequence[str], users: int, rank: int, base: str) -> str:
    modules = " ".join(f"{name}={name}" for name in names[:2])
    missing = ", ".join(obstacles(run.info.config, folded=True))
    answer = "item's one token" if run.info.config.training.item_tokens else "title"
    ranking = (
        f"The run's own ranking also needs {missing}: with these adapters a server continues\n"
        "text, it does not rank as the run does. `ilora-app train --serveable` trains one that does."
        if missing
        else f"`{PROMPT}` has the prompt and each {answer} as token ids; the log-likelihood of\n"
        f"a {answer} after the prompt is a candidate's score."
    )
    return f"""# {len(names)} adapters for {users:,} users of {run.info.dataset}

Each folder `cluster-…` is a plain LoRA of rank {rank} for `{base}`: that of a cluster of gates.
`{INDEX}` says which of them a user gets, by the user's newest history. Users who are not there: export
again with a file of their histories (`--users FILE`); the adapters stay as they are.

    vllm serve {base} --enable-lora --max-lora-rank {vllm_rank(rank)} --lora-modules {modules} …
    python -m sglang.launch_server --model-path {base} --lora-paths {modules} …

A request names the adapter. {ranking}

`ilora-app evaluate RUN --clusters {len(names)}` says what so few adapters cost beside one for each user.
"""
