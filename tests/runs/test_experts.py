"""Exported experts, added up by plain peft, answer as the gated model; numpy says how much of each."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from safetensors.numpy import load_file

from core.config.choices import ENCODERS, GATE_INPUTS
from core.config.settings import EncoderConfig, GateConfig, RunConfig
from core.errors import InputError
from core.files import sha256_of_file
from core.ilora.standalone_gate import LONGEST_CODE
from core.recommenders.registry import method_class
from core.runs.exporting_experts import FACTS, GATE, MANIFEST, export_experts
from core.runs.store import OpenRun, RunInfo, open_run, run_folder, save_run
from ilora_app.cli import main
from tests import made_up, tiny
from tests.ilora.test_folding import close, logits
from tests.ilora.test_layers import tokens
from tests.ilora.test_model import adapted, stirred

pytestmark = pytest.mark.usefixtures("tiny_home")


def settings(kind: str = "softmax", reads: str = "sequence", scope: str = "shared") -> RunConfig:
    return dataclasses.replace(tiny.config(), gate=GateConfig(kind=kind, input=reads, scope=scope))


def opened(config: RunConfig, tmp_path: Path, encoder: str = "sasrec") -> OpenRun:
    """A run around a random model whose gate is sharp, without a training."""
    dataset, samples = tiny.load(config)
    model = stirred(adapted(settings=config, encoder=encoder))
    model.train(False)
    if model.gate is not None:
        with torch.no_grad():
            for parameter in model.gate.parameters():
                parameter.mul_(5)
    info = RunInfo(tmp_path, "tiny", "paper", "ilora", 0, config, "ab", "2026-01-01", {})
    recommender: Any = method_class("ilora")()
    recommender.model = model
    return OpenRun(info, dataset, samples, recommender)


def printed(folder: Path) -> tuple[str, Any]:
    """The first code block of the README, and the `omega` that it defines."""
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]
    space: dict[str, Any] = {}
    exec(code, space)  # what a server's owner does with it
    return code, space["omega"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", [kind for kind in tiny.GATES_ALONE if kind != "resnet"])
def test_the_printed_function_gives_the_programs_omega(tmp_path: Path, kind: str, encoder: str) -> None:
    check_omega(opened(settings(kind), tmp_path, encoder), tmp_path / "out")


@pytest.mark.parametrize("reads", [name for name in GATE_INPUTS if name != "sequence"])
def test_whatever_the_gate_reads(tmp_path: Path, reads: str) -> None:
    check_omega(opened(settings(reads=reads), tmp_path), tmp_path / "out")


def check_omega(run: OpenRun, out: Path) -> None:
    export_experts(run, out)
    code, omega = printed(out)
    assert len([line for line in code.splitlines() if line.strip()]) <= LONGEST_CODE
    weights, facts = load_file(out / GATE), json.loads((out / FACTS).read_text())
    model: Any = run.recommender
    ids = run.dataset.catalogue.ids
    rows = [*tiny.histories(12, seed=5), [3], list(range(10))]
    for history, expected in zip(rows, model.model.expert_weights(rows), strict=True):
        found = omega(weights, facts, [ids[item] for item in history])
        np.testing.assert_allclose(found, expected, atol=2e-5)
    longer = list(range(14))
    np.testing.assert_allclose(
        omega(weights, facts, [ids[item] for item in longer]),
        model.model.expert_weights([longer[-10:]])[0],
        atol=2e-5,
    )


def test_two_histories_get_different_weights(tmp_path: Path) -> None:
    run = opened(settings(), tmp_path)
    export_experts(run, tmp_path / "out")
    _, omega = printed(tmp_path / "out")
    weights, facts = load_file(tmp_path / "out" / GATE), json.loads((tmp_path / "out" / FACTS).read_text())
    first, second = (omega(weights, facts, [run.dataset.catalogue.ids[item]]) for item in (0, 20))
    assert np.abs(first - second).max() > 0.05


def test_the_experts_added_up_by_peft_answer_as_the_gated_model(tmp_path: Path) -> None:
    run = opened(settings(), tmp_path)
    out = tmp_path / "out"
    export_experts(run, out)
    own: Any = run.recommender
    ids = tokens(batch=1)
    names = [f"expert-{place}" for place in range(4)]
    model = PeftModel.from_pretrained(tiny.llama(), out / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(out / name, adapter_name=name)
    assert {config.r for config in model.peft_config.values()} == {1}
    model.base_model.set_adapter(names)
    answers = []
    for history in tiny.histories(2):
        with torch.no_grad(), own.model._gated([history]):
            expected = logits(own.model.peft, ids)
        omega = own.model.expert_weights([history])[0]
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                for name, weight in zip(names, omega, strict=True):
                    layer.set_scale(name, 4 * float(weight))
        answers.append(logits(model, ids))
        close(answers[-1], expected)
    assert float((answers[0] - answers[1]).abs().max()) > 1e-2


def test_gguf_adapters_hold_the_same_updates_in_llama_cpps_order(tmp_path: Path) -> None:
    """Read back by transformers' own reader of GGUF weights, each product B A is the expert's."""
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    run = opened(settings(), tmp_path)
    export_experts(run, tmp_path / "out", "gguf")
    own: Any = run.recommender
    config = own.model.llm.model.config
    rank, experts = 4, 4
    whole = own.model.folded(None)
    for expert in range(experts):
        reader = GGUFReader(tmp_path / "out" / f"expert-{expert}.gguf")
        fields = {name: field.contents() for name, field in reader.fields.items()}
        assert fields["general.type"] == "adapter"
        assert fields["adapter.type"] == "lora"
        assert fields["general.architecture"] == "llama"
        assert fields["adapter.lora.alpha"] == rank // experts
        found = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        for place, theirs, ours in (
            (3, "attn_q", "self_attn.q_proj"),
            (2, "attn_k", "self_attn.k_proj"),
            (3, "ffn_down", "mlp.down_proj"),
        ):
            name = f"blk.{place}.{theirs}.weight"
            a, b = found[f"{name}.lora_a"], found[f"{name}.lora_b"]
            product = b @ a
            processor = LlamaTensorProcessor(config={})
            if theirs == "attn_q":
                heads = config.num_attention_heads
                product = processor._reverse_permute_weights(product, heads, heads)
            if theirs == "attn_k":
                heads = config.num_attention_heads
                product = processor._reverse_permute_weights(product, heads, config.num_key_value_heads)
            (update,) = [value for key, value in whole.items() if key.endswith(f"layers.{place}.{ours}")]
            expected = update.b[:, [expert]] @ update.a[[expert]]
            np.testing.assert_allclose(product, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_the_manifest_knows_every_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = export_experts(opened(settings(), tmp_path), out)
    manifest = json.loads((out / MANIFEST).read_text())
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {MANIFEST}
    assert set(manifest["files"]) == files
    for name, sha in manifest["files"].items():
        assert sha256_of_file(out / name) == sha
    assert written.missing == (
        "the score head",
        "the item vectors in the prompt",
        "the sequence encoder's own score",
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param(settings(scope="per-layer"), "gate is per-layer", id="gates per layer"),
        pytest.param(settings("resnet"), "resnet gate cannot be exported", id="resnet"),
    ],
)
def test_what_has_no_one_gate_says_why_and_writes_nothing(
    tmp_path: Path, config: RunConfig, says: str
) -> None:
    with pytest.raises(InputError, match=says) as refused:
        export_experts(opened(config, tmp_path), tmp_path / "out")
    assert "train" in refused.value.hint
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_experts_of_a_run_and_refuses_one_with_gates_per_layer(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for scope in ("shared", "per-layer"):
        config = tiny.config(tiny_model, samples=4)
        config = dataclasses.replace(config, gate=GateConfig(scope=scope))
        task = tiny.task(config, tmp_path / scope)
        recommender = method_class("ilora")()
        recommender.fit(task)
        path = run_folder(
            tmp_path / "runs", "tiny", "paper", "ilora", 0, ("ab" if scope == "shared" else "cd") * 32
        )
        paths.append(save_run(recommender, task, path, made_up.result("ilora")))
    out = tmp_path / "out"
    assert command(paths[0], "--experts", "--out", out) == 0
    assert "4 experts of rank 1" in capsys.readouterr().out
    assert (out / "expert-3" / "adapter_model.safetensors").is_file()
    assert command(paths[1], "--experts", "--out", tmp_path / "no") == 2
    said = capsys.readouterr().err
    assert "gate is per-layer" in said
    assert "--serveable" in said
    assert not (tmp_path / "no").exists()
    assert command(paths[0], "--format", "gguf", "--out", tmp_path / "no") == 2
    assert command(paths[0], "--experts", "--user", "3", "--out", tmp_path / "no") == 2
    assert command(paths[0], "--experts", "--format", "onnx", "--out", tmp_path / "no") == 2
    assert not (tmp_path / "no").exists()
    assert open_run(paths[0]).info.method == "ilora"


def command(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_an_encoder_of_several_heads_and_layers_is_read_alike(tmp_path: Path) -> None:
    config = dataclasses.replace(settings(), encoder=EncoderConfig(width=32, layers=3, heads=4))
    run = opened(config, tmp_path)
    own: Any = run.recommender
    from core.encoders.base import new_encoder

    torch.manual_seed(1)
    encoder = new_encoder("sasrec", tiny.ITEMS, config.encoder, 10)
    tiny.randomize(encoder, std=0.3)
    own.model.encoder = encoder.freeze()
    own.model.gate.linear = torch.nn.Linear(32, 4, bias=False)
    check_omega(run, tmp_path / "out")
