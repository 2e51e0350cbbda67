"""What two launched processes do for the tests of `core.training.parallel`: `-m tests.processes JOB DIR`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from core.errors import IloraError, InputError, Interrupted
from core.lm.sharding import check_sharding
from core.recommenders.adapter import Ilora
from core.training import parallel
from core.training.checkpoints import clear_checkpoints
from core.training.job import Schedule
from tests import tiny
from tests.training.test_loop import Toy, run, schedule

torch.set_num_threads(1)


class Uneven(Toy):
    """Without dropout, in double precision; one weight gets a gradient from odd samples only, one never."""

    def __init__(self) -> None:
        super().__init__(0.0, torch.float64)
        self.bias = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.unused = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def parameter_groups(self) -> list[dict[str, Any]]:
        own = {"params": [self.bias, self.unused], "rate": 1.0, "weight_decay": 0.1}
        return [*super().parameter_groups(), own]

    def loss(self, samples: Sequence[int], epoch: int) -> Any:
        del epoch
        return _Loss(self, samples)

    def state(self) -> dict[str, torch.Tensor]:
        return {**super().state(), "bias": self.bias.detach(), "unused": self.unused.detach()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        own = dict(state)
        with torch.no_grad():
            self.bias.copy_(own.pop("bias"))
            self.unused.copy_(own.pop("unused"))
        super().load_state(own)


class _Loss:
    def __init__(self, job: Uneven, samples: Sequence[int]) -> None:
        self.job, self.samples = job, samples

    def __enter__(self) -> tuple[torch.Tensor, int]:
        job = self.job
        job.net.train()
        rows = [sample for sample in self.samples for _ in range(1 + sample % 2)]
        found = job.net(job.x[rows])
        if any(sample % 2 for sample in self.samples):
            odd = torch.tensor([[sample % 2] for sample in rows], dtype=torch.float64)
            found = found + job.bias * odd
        return (found - job.y[rows]).square().sum(), len(rows)

    def __exit__(self, *_: object) -> None:
        return None


PLANS: dict[str, Schedule] = {
    "even": schedule(steps=12),
    "uneven": schedule(steps=8, batch_size=5, micro_batch_size=2, validate_every=3),
    "tiny": schedule(steps=6, batch_size=1, micro_batch_size=1),
}


def trainings(folder: Path) -> None:
    """Several trainings, one after the other; every process saves the weights it ends with."""
    for name, plan in PLANS.items():
        job = Uneven()
        if parallel.rank():
            torch.nn.init.zeros_(job.net[0].weight)  # what only one process has wrong must not matter
        run(job, folder / "checkpoints" / name, plan)
        save_file(job.state(), folder / f"{name}-{parallel.rank()}.safetensors")
        parallel.wait()
        if parallel.is_main():
            clear_checkpoints(folder / "checkpoints" / name)


def stopping(folder: Path) -> dict[str, Any]:
    """One process asks to stop; all do, and go on together afterwards."""
    asked, place = 0, folder / "checkpoints" / "stopped"

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return parallel.rank() == 1 and asked > 3

    try:
        run(Uneven(), place, PLANS["even"], should_stop=stop)
        said = "finished"
    except Interrupted as error:
        said = str(error)
    found = sorted(path.name for path in place.iterdir())
    parallel.wait()
    job = Uneven()
    run(job, place, PLANS["even"])
    save_file(job.state(), folder / f"resumed-{parallel.rank()}.safetensors")
    return {"said": said, "checkpoints": found}


def sharing() -> dict[str, Any]:
    """What the small parts give in this process."""

    def failing() -> int:
        raise InputError("only the main process looks", "and its failure is everybody's")

    def stopped(own: Sequence[int]) -> list[int]:
        if parallel.rank() == 1:
            raise Interrupted
        return list(own)

    found: dict[str, Any] = {
        "squares": parallel.share_out(range(7), lambda own: [i * i for i in own]),
        "one": parallel.share_out([5], lambda own: [i * i for i in own]),
        "workers": parallel.share_out(range(3), lambda own: [parallel.rank()] * len(own)),
        "largest": parallel.largest(10 * parallel.rank()),
        "main's": parallel.from_main(parallel.rank),
    }
    for name, work in (("failure", failing), ("stop", lambda: parallel.share_out(range(4), stopped))):
        try:
            parallel.from_main(work) if name == "failure" else work()
        except (IloraError, Interrupted) as error:
            found[name] = [type(error).__name__, str(error), getattr(error, "hint", "")]
    with parallel.main_first():
        found["alone"] = [parallel.size(), parallel.is_main()]
    try:
        with parallel.main_first():
            failing()
    except InputError as error:
        found["first failure"] = error.title
    return found


def parts(folder: Path) -> None:
    with parallel.joined():
        record = {"sharing": sharing()}
        trainings(folder)
        record["stopping"] = stopping(folder)
        (folder / f"record-{parallel.rank()}.json").write_text(json.dumps(record))


def death(folder: Path) -> None:
    """One process ends in the middle of a training."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if parallel.rank() == 1 and asked > 3:
            os._exit(9)
        return False

    try:
        with parallel.joined():
            run(Uneven(), folder / "checkpoints", PLANS["even"], should_stop=stop)
    except IloraError as error:
        (folder / "death.json").write_text(json.dumps([error.title, error.hint]))


def threads() -> list[str]:
    """The names of this process's threads, where the system tells."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def leaving(folder: Path) -> None:
    """Meets the others, lets a library see them, and notes what is left afterwards."""
    with parallel.joined():
        import torch.distributed.nn.functional  # noqa: F401

        during = threads()
        parallel.wait()
    (folder / f"threads-{os.environ['RANK']}.json").write_text(json.dumps([during, threads()]))


def bench(folder: Path) -> None:
    """The command line, with weights in full precision, so that the order of sums hardly matters."""
    from core.lm import loading
    from ilora_app.cli import main

    loading.pick_dtype = lambda *_: torch.float32
    try:
        main(json.loads((folder / "arguments.json").read_text()))
    finally:
        (folder / f"threads-{os.environ['RANK']}.json").write_text(json.dumps(threads()))


def held_bytes(layer: Any) -> int:
    """Bytes of a layer's frozen weights in this process."""
    frozen = [parameter for parameter in layer.parameters() if not parameter.requires_grad]
    parts = [part.to_local() if hasattr(part, "to_local") else part for part in frozen]
    return sum(part.numel() * part.element_size() for part in parts)


def asked(model: str, folder: Path, objective: str, quantize: str) -> dict[str, Any]:
    """What an iLoRA with random weights holds, scores, learns from a batch and writes."""
    config = tiny.config(model, objective=objective, checkpointing=True)
    config = replace(config, model=replace(config.model, quantize=quantize))
    check_sharding(config.model)
    made = Ilora().build(tiny.task(config, folder), tiny.encoder())
    for number, part in enumerate((made.peft, made.ranker, made.gate)):
        assert part is not None
        tiny.randomize(part, seed=number)
    histories, candidates = tiny.histories(5), tiny.candidates(5, size=6)
    made.train()
    with made.loss(histories, candidates, [0, 1, 2, 3, 4]) as loss:
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: float(p.grad.norm()) for name, p in made.parameters().items() if p.grad is not None}
    made.train(False)
    with torch.no_grad():
        scores = made.scores(histories, candidates).tolist()

    def write(own: Sequence[int]) -> list[str]:
        return made.answers([histories[i] for i in own], [candidates[i] for i in own], constrained=True)

    return {
        "held": [held_bytes(layer) for layer in made.llm.decoder.layers],  # type: ignore[union-attr]
        "loss": float(loss.detach()),
        "gradients": gradients,
        "scores": scores,
        "answers": parallel.share_out(range(5), write) if objective == "language-model" else [],
        "total": made.total_parameters(),
    }


def sharded(folder: Path) -> None:
    """Models whose layers the processes share, as `arguments.json` names them."""
    from core.lm import loading

    loading.pick_dtype = lambda *_: torch.float32
    cases = json.loads((folder / "arguments.json").read_text())
    with parallel.joined():
        found = [asked(cases["model"], folder, *case) for case in cases["cases"]]
    (folder / f"found-{os.environ['RANK']}.json").write_text(json.dumps([found, threads()]))


JOBS = {"parts": parts, "death": death, "leaving": leaving, "sharded": sharded, "bench": bench}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Path(sys.argv[2]))
