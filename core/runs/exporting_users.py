"""Writes many users' folded adapters as one store: what all share once, and each user's own part in shards.

All users have the same A; folding puts the gate's factors into B alone. A shard is whole or not there, and
has the same number of users each: killed work goes on at the first shard that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from core.assets.known import base_model
from core.data.people import Person, count_people, people
from core.errors import DataError, InputError, Interrupted, ResultError
from core.files import atomic_path, atomic_write, remove_leftovers
from core.ilora.folding import plain_settings
from core.ilora.layers import ADAPTER
from core.kinds import Count
from core.records import build, json_of, plain
from core.runs.exporting import check_destination
from core.runs.parts import LOCK, claimed, job_of, present, same_job, vanished
from core.runs.store import MODEL_CARD, OpenRun
from core.stages import UNWATCHED, Watch

if TYPE_CHECKING:
    from torch import Tensor

    from core.ilora.model import AdaptedModel

SHARD_USERS = 64
"""Users in a shard; about 100 MB with the embedded model and the default adapter."""
SAID = "ilora-app"
"""Where a shard says who its users are."""
SHARED, INDEX = "shared.safetensors", "index.json"


@dataclass(frozen=True)
class ExportedUsers:
    """What was written."""

    folder: Path
    users: int
    left_out: int
    """Users without a known item, who have no adapter."""
    unknown: int
    """Items of histories that the catalogue does not have; they were passed over."""
    rank: int
    shards: int
    bytes: int


@dataclass(frozen=True)
class _Said:
    """What a shard says of its users."""

    users: tuple[str, ...]
    left_out: Count
    unknown: Count


def export_users(
    run: OpenRun, out: Path, histories: Path | None = None, watch: Watch = UNWATCHED
) -> ExportedUsers:
    """Writes the folded adapter of every user into a new folder.

    Args:
        run: an iLoRA, with one gate or several.
        out: a folder that is not there yet, or empty; one beside it holds the shards until all are there.
        histories: a file of histories; the dataset's own users without one, each with the newest history.
        watch: told how far it is, and may stop it.

    Raises:
        InputError: the run has no gate, a user is there twice, another process writes these adapters, or
            the folder cannot be written.
        DataError: the file of histories is not as it should be.
        ResultError: what was begun beside the folder is another job, or damaged.
        Interrupted: stopped; the same call goes on from there.
    """
    check_destination(out)
    model: AdaptedModel | None = getattr(run.recommender, "model", None)
    if model is None or getattr(model, "gate", None) is None:
        raise InputError(f"a run of {run.info.method} has no adapter for each user", "give an iLoRA run")
    total = count_people(run.dataset, histories, watch)
    work = out.with_name(f"{out.name}.parts")
    work.mkdir(parents=True, exist_ok=True)
    with claimed(work):
        check_destination(out)  # another process may have written it in the meantime
        remove_leftovers(work)
        same_job(work, job_of(run.info, histories, users_per_shard=SHARD_USERS))
        _write_shared(run, model, work)
        done = len(_shards(work))
        users = islice(people(run.dataset, histories), done * SHARD_USERS, None)
        stage = watch.stage("export", max(0, total - done * SHARD_USERS))
        while batch := list(islice(users, SHARD_USERS)):
            _write_shard(model, work / _shard_name(done), batch, stage.advance, watch)
            done += 1
        written = _finish(run, work, out)
        if not (work / LOCK).exists():  # whoever writes makes the folder anew, without what was in it
            raise vanished(work)
    with present(work):
        (work / LOCK).unlink(missing_ok=True)
        if out.exists():
            out.rmdir()
        work.replace(out)
    return written


def _write_shared(run: OpenRun, model: AdaptedModel, work: Path) -> None:
    """A of every layer, and peft's settings for a folded adapter."""
    updates = model.folded(None)
    tensors = {f"{name}.lora_A.weight": update.a.to(model.llm.dtype) for name, update in updates.items()}
    with atomic_path(work / SHARED) as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    rank, base = next(iter(updates.values())).rank, base_model(run.info.config.model.name)
    plain_settings(model.peft.peft_config[ADAPTER], rank, base).save_pretrained(work)


def _shard_name(number: int) -> str:
    return f"users-{number:05}.safetensors"


def _shards(work: Path) -> list[Path]:
    """The shards that are there, from the first on without a gap."""
    found: list[Path] = []
    while (path := work / _shard_name(len(found))).is_file():
        found.append(path)
    return found


def _write_shard(
    model: AdaptedModel, path: Path, batch: Sequence[Person], advance: Any, watch: Watch
) -> None:
    """B of every user and layer; who they are stands in the file's metadata."""
    tensors: dict[str, Tensor] = {}
    names: list[str] = []
    left_out = unknown = 0
    for person in batch:
        if watch.should_stop():
            raise Interrupted
        unknown += person.unknown
        if person.history:
            for name, update in model.folded(person.history).items():
                tensors[f"{len(names)}.{name}.lora_B.weight"] = update.b.to(model.llm.dtype).contiguous()
            names.append(person.user)
        else:
            left_out += 1
        advance(1)
    said = _Said(tuple(names), left_out, unknown)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {SAID: json.dumps(plain(said))})  # one entry: their order is not kept


def _said(shard: Path) -> _Said:
    """Who is in a shard.

    Raises:
        ResultError: it says nothing, or cannot be read.
    """
    try:
        with safe_open(shard, "pt") as opened:
            return build(_Said, json_of(opened.metadata()[SAID], shard.name))
    except (SafetensorError, OSError, KeyError, TypeError, DataError) as error:
        raise ResultError(
            f"{shard} cannot be read", f"remove it and those after it in {shard.parent}"
        ) from error


def _finish(run: OpenRun, work: Path, out: Path) -> ExportedUsers:
    """The index of all shards, and a README."""
    index: dict[str, list[Any]] = {}
    left_out = unknown = 0
    shards = _shards(work)
    for shard in shards:
        said = _said(shard)
        for place, user in enumerate(said.users):
            index[user] = [shard.name, place]
        left_out, unknown = left_out + said.left_out, unknown + said.unknown
    atomic_write(work / INDEX, json.dumps(index) + "\n")
    rank = run.info.config.adapter.rank
    atomic_write(work / MODEL_CARD, _readme(run, len(index), rank))
    size = sum(path.stat().st_size for path in work.iterdir())
    return ExportedUsers(out, len(index), left_out, unknown, rank, len(shards), size)


def _readme(run: OpenRun, users: int, rank: int) -> str:
    return f"""# {users:,} users of {run.info.dataset}, each with an adapter of rank {rank}

`{SHARED}` has A, which all users share; the shards have each user's B, with the gate's factors and the scale
inside; `{INDEX}` says in which shard and at which place a user is. This code makes a folder of one user's
adapter, which peft and servers load:

```python
import json, pathlib, shutil
from safetensors import safe_open
from safetensors.torch import load_file, save_file

def unpack(store, user, folder):
    store, folder = pathlib.Path(store), pathlib.Path(folder)
    shard, place = json.loads((store / "{INDEX}").read_text())[user]
    tensors, start = load_file(store / "{SHARED}"), f"{{place}}."
    with safe_open(store / shard, "pt") as opened:
        own = [name for name in opened.keys() if name.startswith(start)]
        tensors |= {{name.removeprefix(start): opened.get_tensor(name) for name in own}}
    folder.mkdir(parents=True)
    shutil.copy(store / "adapter_config.json", folder)
    save_file(tensors, folder / "adapter_model.safetensors")
```
"""
