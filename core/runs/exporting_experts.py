"""Writes an iLoRA's experts as LoRA adapters of their own, with a gate that needs none of this program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from core.assets.known import base_model
from core.config.checks import check_choice
from core.config.serveable import obstacles
from core.errors import InputError
from core.files import atomic_path, sha256_of_file
from core.ilora.folding import save_updates, split_experts
from core.ilora.gguf_lora import architecture_of, write_gguf
from core.ilora.layers import ADAPTER
from core.ilora.standalone_gate import StandaloneGate, check_one_gate, standalone
from core.methods import METHODS
from core.runs.exporting import check_destination
from core.runs.exporting_tokens import TokenBase, token_base
from core.runs.prompt_files import CLIENT, write_client, write_prompt
from core.runs.store import MODEL_CARD, OpenRun, RunInfo

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

FORMATS = ("peft", "gguf")
GATE, FACTS, MANIFEST = "gate.safetensors", "gate.json", "manifest.json"


@dataclass(frozen=True)
class ExportedExperts:
    """What was written."""

    folder: Path
    experts: tuple[str, ...]
    """The adapters' folders or files, below `folder`, the first expert first."""
    rank: int
    """Of each."""
    base_model: str
    """What the adapters belong on."""
    missing: tuple[str, ...]
    """What the run's own ranking needs besides; empty where a plain server ranks as the run does."""
    bytes: int
    """Of all files."""


def check_experts(info: RunInfo, form: str) -> None:
    """Raises `InputError` unless a run's experts can be exported in this format."""
    check_choice(form, FORMATS, "format")
    check_one_gate(info.config.gate.scope, info.method, METHODS[info.method].has_gate)


def export_experts(run: OpenRun, out: Path, form: str = "peft") -> ExportedExperts:
    """Writes K adapters of rank r/K, the gate, a manifest with checksums and a README into a new folder.

    The adapter of a history is the sum of the K, the k-th times K * omega_k.

    Args:
        run: an iLoRA whose layers share one gate.
        out: a folder that is not there yet, or empty.
        form: peft (a folder for each adapter), or gguf (a file for each, for llama.cpp).

    Raises:
        InputError: there is no such gate, the format cannot hold the adapters, or nothing can be written.
    """
    check_destination(out)
    check_experts(run.info, form)
    model: AdaptedModel = run.recommender.model  # type: ignore[attr-defined]
    gate = standalone(model, run.dataset.catalogue.ids, run.dataset.rules.max_history)
    parts = split_experts(model.folded(None), gate.facts["experts"])
    tokens = token_base(model, run.info.config.model, form)
    base, lm = tokens.name if tokens else base_model(run.info.config.model.name), model.llm.model.config
    if form == "gguf":
        architecture_of(lm)
    names = tuple(f"expert-{place}{'.gguf' if form == 'gguf' else ''}" for place in range(len(parts)))
    missing = tuple(obstacles(run.info.config))
    served = form == "gguf" and not missing
    rank = next(iter(parts[0].values())).rank
    try:
        with atomic_path(out) as folder:
            folder.mkdir()
            for name, updates in zip(names, parts, strict=True):
                if form == "gguf":
                    write_gguf(folder / name, updates, lm, name.removesuffix(".gguf"))
                else:
                    (folder / name).mkdir()
                    save_updates(folder / name, updates, model.peft.peft_config[ADAPTER], base)
            if tokens:
                tokens.write(folder)
            save_file(dict(gate.weights), folder / GATE)
            (folder / FACTS).write_text(json.dumps(dict(gate.facts)) + "\n", encoding="utf-8")
            if served or tokens:
                write_prompt(folder, model, run.dataset, names, base)
            if served:
                write_client(folder, gate.code)
            readme = _readme(run.info, names, rank, base, gate, missing, served, tokens)
            (folder / MODEL_CARD).write_text(readme, encoding="utf-8")
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            size = sum(path.stat().st_size for path in files)
            manifest = {
                "format": 1,
                "dataset": run.info.dataset,
                "base_model": base,
                "samples_sha256": run.info.samples_sha256,
                "experts": list(names),
                "rank": rank,
                "missing": list(missing),
                "files": {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files},
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", "choose another folder with --out"
        ) from error
    return ExportedExperts(out, names, rank, base, missing, size)


def _readme(
    info: RunInfo,
    names: Sequence[str],
    rank: int,
    base: str,
    gate: StandaloneGate,
    missing: Sequence[str],
    served: bool,
    tokens: TokenBase | None = None,
) -> str:
    """Ten lines for whoever runs a server, and the code that they need."""
    count, listed = len(names), ", ".join(f"`{name}`" for name in names)
    ranking = (
        "A server with these adapters ranks as the run does: by the likelihood of each candidate's "
        f"{'token' if tokens else 'title'}."
        if not missing
        else f"The run's own ranking also needs {', '.join(missing)}: with these adapters a server continues "
        "text, it does not rank as the run does. `ilora-app train --serveable` trains one that does."
    )
    if served:
        ranking += f" `python {CLIENT} http://127.0.0.1:8080 --history ID,ID --candidates ID,ID` asks it to."
    files = ",".join(names) if served else "expert-0.gguf,expert-1.gguf,…"
    file = base if served and tokens else "BASE.gguf"
    lines = (
        f"Load the base model `{base}` and all {count} adapters, LoRA of rank {rank}: {listed}.",
        "For a request, take the ids of the items that the user chose last, oldest first.",
        f"`omega(weights, facts, history)` below gives {count} numbers that add up to 1.",
        f"Send the request with adapter k at scale {count} * omega[k], all {count} of them at once.",
        f"llama.cpp (`--format gguf`): `llama-server -m {file} --lora {files} --cache-ram 0`.",
        'Its requests take `"lora": [{"id": 0, "scale": …}, …]`; send `"cache_prompt": false` with the first '
        "of a user, for a prompt that was read with one user's scales must not serve another.",
        "peft: `load_adapter` for each, `set_adapter` with all names, `set_scale` in each layer.",
        'An id that `facts["places"]` lacks was not in the training data: leave it out, and say so.',
        f"`{MANIFEST}` has the SHA-256 of every file.",
        ranking,
        *(tokens.lines if tokens else ()),
    )
    numbered = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
    return f"""# {count} experts for {info.dataset}: one language model that adapts to each user

{numbered}

```python
{gate.code}```

```python
import json
from safetensors.numpy import load_file
weights, facts = load_file("{GATE}"), json.load(open("{FACTS}"))
scales = facts["scale"] * omega(weights, facts, ["an id", "another id"])
```
"""
