"""SASRec and eSASRec over the whole catalogue beside RecBole's and RecTools', on one split of MovieLens-100K.

Each peer needs packages of its own, so that it runs in an environment of its own, on a file that we write:

    ilora-app bench --preset standard --split leave-one-out --candidates catalogue --seeds 3 \\
        --methods popularity,sasrec,esasrec --out runs/others
    python benchmarks/libraries.py split --folder /tmp/others

    python3 -m venv /tmp/recbole && /tmp/recbole/bin/pip install 'recbole==1.2.1' \\
        'setuptools<81' 'numpy<2' 'pandas<2.2'
    /tmp/recbole/bin/python benchmarks/libraries.py recbole --folder /tmp/others --dropout 0.3 0.5 --seeds 3

    python3 -m venv /tmp/rectools && /tmp/rectools/bin/pip install 'rectools[torch]==0.19.0'
    /tmp/rectools/bin/python benchmarks/libraries.py rectools --folder /tmp/others --dropout 0.3 0.5 --seeds 3
    /tmp/rectools/bin/python benchmarks/libraries.py rectools --folder /tmp/others --dropout 0.3 0.5 \\
        --seeds 3 --layers ligr

    python benchmarks/libraries.py table --folder /tmp/others --ours runs/others

Everyone's last item is the test, the one before it validates (ratings of 3 and more). All read the last ten
items, have width 64, two layers and two heads, and predict by softmax over the catalogue (RecTools also as
--loss says). Each trains by its own code, with its own optimizer, initialization and batches:

- RecBole cuts every sequence into one sample for each item, as it always does (batches of 256; its default of
  2,048 needs many more epochs).
- RecTools trains on the last items of a user alone; here sequences are given to it in pieces of eleven items,
  of which each begins with the last item of the one before, so that every item is predicted once.

The epoch is chosen by validation: MRR over the whole catalogue for the peers, with a patience of ten epochs;
ours as always, by MRR among twenty candidates. All rankings leave out what the user has had before; equal
scores count against the method. Ranks are computed here, for all libraries by the same lines.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HISTORY = 10
WIDTH, LAYERS, HEADS = 64, 2, 2
EPOCHS, PATIENCE = 200, 10
CASES = "split.json"

Score = Callable[[Sequence[Sequence[int]]], np.ndarray]
"""From histories of items to (n, items) scores; -inf for items that a library does not know."""


class Split:
    """What `split` wrote."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / CASES).read_text())
        self.items: int = content["items"]
        self.sequences: list[list[int]] = content["sequences"]
        """Each user's items, oldest first; the last two are held out."""

    @property
    def training(self) -> list[list[int]]:
        """What may be learnt from."""
        return [items[:-2] for items in self.sequences]

    def ranks(self, score: Score, held_out: int) -> np.ndarray:
        """(users,) rank of each user's item `held_out` places from the end among all that was new to them."""
        places = [len(items) - held_out for items in self.sequences]
        histories = [
            items[max(0, at - HISTORY) : at] for items, at in zip(self.sequences, places, strict=True)
        ]
        ranks = []
        for row, items, at in zip(score(histories), self.sequences, places, strict=True):
            own = row[items[at]]
            row[items[:at]] = -np.inf
            row[items[at]] = own
            ranks.append(int((row >= own).sum()) if np.isfinite(own) else self.items)
        return np.array(ranks)


class Keeper:
    """Keeps the epoch that validation prefers, and says when it has waited long enough."""

    def __init__(self, split: Split) -> None:
        self.split, self.best, self.epoch, self.seen = split, -1.0, 0, 0
        self.state: dict[str, Any] = {}

    def look(self, model: Any, score: Score) -> bool:
        """Judges a model after one more epoch; true where training should stop."""
        self.seen += 1
        value = float((1 / self.split.ranks(score, held_out=2)).mean())
        if value > self.best:
            self.best, self.epoch, self.state = value, self.seen, copy.deepcopy(model.state_dict())
        return self.seen - self.epoch >= PATIENCE


def write(folder: Path, name: str, keeper: Keeper, ranks: np.ndarray, **more: Any) -> None:
    """A peer's test ranks, and what made them."""
    record = {
        "name": name,
        "validation_MRR": keeper.best,
        "epoch": keeper.epoch,
        **more,
        "ranks": ranks.tolist(),
    }
    path = folder / f"{name}-dropout{more['dropout']}-seed{more['seed']}.json"
    path.write_text(json.dumps(record) + "\n")
    print(f"{path.name}: epoch {keeper.epoch} of {keeper.seen}, validation MRR {keeper.best:.4f}, "
          f"NDCG@10 {ndcg(ranks).mean():.4f}, {more['seconds']:.0f} s", flush=True)  # fmt: skip


def ndcg(ranks: np.ndarray) -> np.ndarray:
    """NDCG@10 of each case."""
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)


# --- RecBole ---------------------------------------------------------------------------------------------


def recbole(options: argparse.Namespace) -> None:
    """RecBole's SASRec, by its own data pipeline and trainer."""
    import recbole as library

    options.folder = options.folder.resolve()
    split = Split(options.folder)
    data = options.folder / "recbole" / "movielens"
    data.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)  # it writes logs where it stands
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, items in enumerate(split.sequences):
        lines += [f"u{user}\t{item}\t{place}" for place, item in enumerate(items)]
    (data / "movielens.inter").write_text("\n".join(lines) + "\n")
    for dropout, seed in runs(options):
        started = time.monotonic()
        keeper, ranks = recbole_run(split, options.folder, dropout, seed)
        write(options.folder, "recbole-sasrec", keeper, ranks, version=library.__version__,
              dropout=dropout, seed=seed, seconds=time.monotonic() - started)  # fmt: skip


def recbole_run(split: Split, folder: Path, dropout: float, seed: int) -> tuple[Keeper, np.ndarray]:
    """One training, and the test ranks of its best epoch."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.interaction import Interaction
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    settings = {
        "data_path": str(folder / "recbole"), "checkpoint_dir": str(folder / "recbole"), "use_gpu": False,
        "MAX_ITEM_LIST_LENGTH": HISTORY, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": None, "loss_type": "CE", "hidden_size": WIDTH, "n_layers": LAYERS,
        "n_heads": HEADS, "inner_size": 4 * WIDTH, "hidden_dropout_prob": dropout,
        "attn_dropout_prob": dropout,
        "train_batch_size": 256, "epochs": EPOCHS, "seed": seed, "show_progress": False, "state": "WARNING",
    }  # fmt: skip
    config = Config(model="SASRec", dataset="movielens", config_dict=settings)
    init_seed(seed, reproducibility=True)
    dataset = create_dataset(config)
    trained, _, _ = data_preparation(config, dataset)
    model = get_model("SASRec")(config, trained.dataset)
    trainer = Trainer(config, model)
    ids = np.array([dataset.field2token_id["item_id"].get(str(item), 0) for item in range(split.items)])

    @torch.no_grad()
    def score(histories: Sequence[Sequence[int]]) -> np.ndarray:
        model.eval()
        rows = torch.zeros(len(histories), HISTORY, dtype=torch.long)  # padded on the right
        for row, history in zip(rows, histories, strict=True):
            row[: len(history)] = torch.from_numpy(ids[list(history)])
        asked = Interaction({"item_id_list": rows, "item_length": (rows > 0).sum(dim=1)})
        found: np.ndarray = model.full_sort_predict(asked).numpy()[:, ids]
        return np.where(ids > 0, found, -np.inf)

    keeper = Keeper(split)
    for epoch in range(EPOCHS):
        trainer._train_epoch(trained, epoch)
        if keeper.look(model, score):
            break
    model.load_state_dict(keeper.state)
    return keeper, split.ranks(score, held_out=1)


# --- RecTools --------------------------------------------------------------------------------------------


def rectools(options: argparse.Namespace) -> None:
    """RecTools' SASRec, or its eSASRec: the same with the layers `ligr`."""
    import rectools as library

    split = Split(options.folder)
    kind = "esasrec" if options.layers == "ligr" else "sasrec"
    name = f"rectools-{kind}" + ("" if options.loss == "softmax" else f"-{options.loss}")
    for dropout, seed in runs(options):
        started = time.monotonic()
        keeper, ranks = rectools_run(split, options.layers, options.loss, dropout, seed)
        write(options.folder, name, keeper, ranks, version=library.__version__,
              dropout=dropout, seed=seed, seconds=time.monotonic() - started)  # fmt: skip


def rectools_run(
    split: Split, layers: str, loss: str, dropout: float, seed: int
) -> tuple[Keeper, np.ndarray]:
    """One training, and the test ranks of its best epoch."""
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel
    from rectools.models.nn.transformers.ligr import LiGRLayers

    seed_everything(seed)
    keeper, more = Keeper(split), {}
    if layers == "ligr":
        more = {"transformer_layers_type": LiGRLayers, "use_key_padding_mask": True}

    def score_with(net: Any) -> Score:
        @torch.no_grad()
        def score(histories: Sequence[Sequence[int]]) -> np.ndarray:
            known = model.data_preparator.item_id_map
            ids = known.convert_to_internal(np.arange(split.items), strict=False, return_missing=True)
            raw = np.zeros(split.items, dtype=np.int64)
            raw[np.setdiff1d(np.arange(split.items), ids[1])] = ids[0]
            rows = torch.zeros(len(histories), HISTORY, dtype=torch.long)  # padded on the left
            for row, history in zip(rows, histories, strict=True):
                kept = [item for item in raw[list(history)] if item]
                if kept:
                    row[-len(kept) :] = torch.tensor(kept)
            training = net.training
            net.eval()
            items = net.item_model.get_all_embeddings()
            found: np.ndarray = (net.encode_sessions({"x": rows}, items)[:, -1] @ items.T).numpy()[:, raw]
            net.train(training)
            return np.where(raw > 0, found, -np.inf)

        return score

    class Look(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            net = module.torch_model
            trainer.should_stop = keeper.look(net, score_with(net))

    def make_trainer() -> Any:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(
            max_epochs=EPOCHS, accelerator="cpu", enable_model_summary=False, callbacks=[Look()], **quiet
        )

    model = SASRecModel(
        n_blocks=LAYERS, n_heads=HEADS, n_factors=WIDTH, dropout_rate=dropout, session_max_len=HISTORY,
        loss=loss, n_negatives=256, get_trainer_func=make_trainer, **more,
    )  # fmt: skip
    rows = [
        (f"{user}-{start}", item, 1.0, pd.Timestamp(0) + pd.Timedelta(start + place, unit="s"))
        for user, items in enumerate(split.training)
        for start in range(0, max(1, len(items) - 1), HISTORY)
        for place, item in enumerate(items[start : start + HISTORY + 1])
    ]
    model.fit(Dataset.construct(pd.DataFrame(rows, columns=["user_id", "item_id", "weight", "datetime"])))
    net = model.lightning_model.torch_model
    net.load_state_dict(keeper.state)
    return keeper, split.ranks(score_with(net), held_out=1)


def runs(options: argparse.Namespace) -> Iterator[tuple[float, int]]:
    """Dropout and seed of every training."""
    for dropout in options.dropout:
        for seed in options.first_seed + np.arange(options.seeds):
            yield dropout, int(seed)


# --- ours ------------------------------------------------------------------------------------------------


def write_split(options: argparse.Namespace) -> None:
    """The sequences of leave-one-out, for the peers."""
    dataset, _ = our_cases(options.dataset)
    sequences = [sequence.items.tolist() for sequence in dataset.sequences.values()]
    kept = [items for items in sequences if len(items) > 3]
    if len(kept) < len(sequences):
        print(f"{len(sequences) - len(kept)} users have too few items and are left out")
    options.folder.mkdir(parents=True, exist_ok=True)
    content = {"items": len(dataset.catalogue), "sequences": kept}
    (options.folder / CASES).write_text(json.dumps(content) + "\n")
    print(f"{options.folder / CASES}: {len(kept)} users, {content['items']} items")


def our_cases(name: str) -> tuple[Any, Any]:
    """Our dataset and the cases of its leave-one-out."""
    from core.config.presets import preset_config, with_overrides
    from core.data.loading import load_task_data

    config = with_overrides(
        preset_config("standard"), data={"dataset": name, "split": "leave-one-out", "candidates": "catalogue"}
    )
    return load_task_data(config.data)


def table(options: argparse.Namespace) -> None:
    """All rows: means with 95 % intervals (users and seeds resampled), and each peer against ours."""
    from core.evaluation.statistics import bootstrap, compare

    rows = dict(sorted({**our_rows(options), **peer_rows(options.folder)}.items()))
    users = [str(user) for user in range(len(next(iter(rows.values()))[0][0]))]
    print(f"{len(users)} users\n\n| | seeds | NDCG@10 [95 %] | HR@10 | MRR | ours over it |")
    print("|---" * 6 + "|")
    for name, (ranks, said) in rows.items():
        found = bootstrap(ndcg(ranks), users)
        ours = rows.get("ours-" + name.split("-")[1])
        against = "" if ours is None or name.startswith("ours") else "–"
        if against:
            pairs = min(len(ranks), len(ours[0]))
            found_against = compare(ndcg(ours[0][:pairs]), ndcg(ranks[:pairs]), users)
            against = (
                f"{100 * found_against.relative:+.1f} % [{100 * found_against.relative_low:+.1f}, "
                f"{100 * found_against.relative_high:+.1f}], p {found_against.p:.3f}"
            )
        print(
            f"| {name}, {said} | {len(ranks)} | {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] "
            f"| {(ranks <= 10).mean():.4f} | {(1 / ranks).mean():.4f} | {against} |"
        )


def our_rows(options: argparse.Namespace) -> dict[str, tuple[np.ndarray, str]]:
    """(seeds, users) ranks of each of our methods in an output folder, users in the dataset's order."""
    from core.results.store import load_results

    dataset, samples = our_cases(options.dataset)
    order = [case.place for case in samples.test["last"] if len(dataset.sequences[case.user].items) > 3]
    found: dict[str, list[list[int]]] = {}
    for result in load_results(options.ours)[0]:
        if result.whole and result.samples_sha256 == samples.sha256:
            ranks = {case.place: case.rank for case in result.cases}
            found.setdefault(f"ours-{result.method}", []).append([ranks[place] for place in order])
    return {name: (np.array(ranks), "this program") for name, ranks in found.items()}


def peer_rows(folder: Path) -> dict[str, tuple[np.ndarray, str]]:
    """(seeds, users) ranks of each peer, with the dropout that validation prefers."""
    trials: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for path in sorted(folder.glob("*-dropout*-seed*.json")):
        record = json.loads(path.read_text())
        trials.setdefault(record["name"], {}).setdefault(record["dropout"], []).append(record)
    rows = {}
    for name, settings in trials.items():
        worth = {
            dropout: np.mean([run["validation_MRR"] for run in own]) for dropout, own in settings.items()
        }
        best = max(worth, key=lambda dropout: worth[dropout])
        kept = settings[best]
        tried = ", ".join(f"{dropout}: {value:.4f}" for dropout, value in worth.items())
        said = f"{kept[0]['version']}, dropout {best} (validation MRR {tried})"
        rows[name] = (np.array([run["ranks"] for run in kept]), said)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    for part in (write_split, recbole, rectools, table):
        one = parts.add_parser(part.__name__.removeprefix("write_"))
        one.add_argument("--folder", type=Path, required=True)
        one.add_argument("--dataset", default="movielens")
        one.add_argument("--ours", type=Path)
        one.add_argument("--dropout", type=float, nargs="+", default=[0.3])
        one.add_argument("--seeds", type=int, default=1)
        one.add_argument("--first-seed", type=int, default=0)
        one.add_argument("--layers", choices=("sasrec", "ligr"), default="sasrec")
        one.add_argument("--loss", choices=("softmax", "sampled_softmax", "gBCE"), default="softmax")
        one.set_defaults(run=part)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
