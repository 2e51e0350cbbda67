"""The runs and results that come with the program: an output folder as `bench` writes it, for MovieLens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.records import build, json_of, read_text

DEMO_OUT = Path(__file__).parents[1] / "demo"
"""The output folder: runs of SASRec, LoRA and iLoRA, results of popularity too, all on the same cases."""
DEMO = DEMO_OUT / "models" / "movielens.paper.ilora.seed0.65fc2deb"
"""The run that stands in until there is one: an iLoRA, trained with a longer budget than `quick`."""
DEMO_NAME = "demo"
"""What stands for that run wherever one is asked for; `demo-lora` stands for its twin, and so on."""
OPENING = DEMO_OUT / "opening.json"
"""The user whom the screen begins with, and how that user was chosen."""


@dataclass(frozen=True)
class Opening:
    """A user to begin with."""

    user: str
    """A validation user: test users choose nothing."""
    rule: str
    """How the user was chosen, in one sentence."""
    rank: int
    """Where the demo's iLoRA puts the user's last item among its twenty candidates."""
    other: int
    """Where its LoRA twin puts it."""


def demo_runs() -> dict[str, Path]:
    """Method -> the folder of the run that comes with the program."""
    return {path.name.split(".")[2]: path for path in sorted((DEMO_OUT / "models").glob("*.*.*.seed*"))}


def demo_run(name: str) -> Path | None:
    """The run that `demo` or `demo-METHOD` stands for; None where the name means something else."""
    if name == DEMO_NAME:
        return DEMO
    start, _, method = name.partition("-")
    return demo_runs().get(method) if start == DEMO_NAME else None


def is_demo(path: Path) -> bool:
    """Whether this run folder came with the program."""
    return path.resolve().parent == (DEMO_OUT / "models").resolve()


def opening() -> Opening:
    """The user to begin with, where the demo is opened.

    Raises:
        DataError: the file is damaged.
    """
    return build(Opening, json_of(read_text(OPENING), str(OPENING)))
