"""Trains in a child process for every line read, so that a test can kill it: `python -m tests.killing MODEL`.

A child is forked from a parent that has imported everything and computed nothing: starting it takes no time.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import core.recommenders.adapter as llm
import core.recommenders.encoders as encoders
from core.config.settings import ModelConfig
from core.ilora import model as _model  # noqa: F401  (imported before the fork)
from core.lm.loading import load_llm
from core.recommenders.registry import method_class
from core.training.job import Schedule
from tests import tiny

FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def train(model: str, folder: str, result: str) -> None:
    """A real iLoRA, its encoder included, with a checkpoint after every step; writes what it ends with."""
    config = tiny.config(model, samples=64, validations=3)
    config = dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, dropout=0.1))
    task = tiny.task(config, Path(folder))
    recommender: Any = method_class("ilora")()
    report = recommender.fit(task)
    state = {**recommender.model.state(), **recommender.model.encoder.state_dict(prefix="encoder.")}
    curve = torch.tensor([[row["step"], row["MRR"]] for row in report.curve], dtype=torch.float64)
    save_file({**state, "curve": curve}, result)


def die_at(count: int, folder: str) -> None:
    """Kills this process when it touches a checkpoint for the `count`-th time."""
    left = count

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS and f"{folder}/checkpoints/ilora" in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(model: str) -> None:
    load_llm(ModelConfig(name=model, quantize="none"))  # for what loading imports
    every_step = functools.partial(Schedule, checkpoint_seconds=0.0)
    for module in (llm, encoders):
        vars(module)["Schedule"] = every_step
    torch.set_num_threads(1)
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # a forked child's other threads cannot convert weights
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            sys.stdin.close()
            if order["die_at"]:
                die_at(order["die_at"], order["folder"])
            train(order["model"], order["folder"], order["result"])
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
