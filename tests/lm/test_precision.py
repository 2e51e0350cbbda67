"""A model is computed in what was asked for, or in 16 bit where the hardware multiplies it, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.config.presets import with_overrides
from core.config.settings import ModelConfig, RunConfig
from core.errors import InputError
from core.events import Event, Notice
from core.lm import precision
from core.lm.loading import load_llm, pick_device, settle_precision
from core.lm.precision import pick_dtype

CPU, GPU, APPLE = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))


def a_processor(monkeypatch: pytest.MonkeyPatch, multiplies_bf16: bool) -> None:
    """Plays a processor with or without bf16 arithmetic."""
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: multiplies_bf16)


def test_auto_is_16_bit_only_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capable, on_gpu, on_cpu in (
        (True, torch.bfloat16, torch.bfloat16),
        (False, torch.float16, torch.float32),
    ):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda capable=capable, **_: capable)
        a_processor(monkeypatch, capable)
        assert pick_dtype(GPU) is on_gpu
        assert pick_dtype(CPU) is on_cpu
        assert pick_dtype(APPLE) is torch.float32


@pytest.mark.parametrize(
    ("flags", "capability", "onednn", "expected"),
    [
        ((True, False), "AVX512", "", True),
        ((False, True), "AVX512", "", True),
        ((False, False), "AVX512", "", False),
        ((True, True), "AVX2", "", False),
        ((True, True), "AVX512", "AVX2", False),
    ],
)
def test_an_x86_processor_is_asked_for_its_flags_and_what_is_left_of_them(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[bool, bool], capability: str, onednn: str, expected: bool
) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    for kind, flag in zip(("avx512_bf16", "amx_tile"), flags, strict=True):
        monkeypatch.setattr(torch.cpu, f"_is_{kind}_supported", lambda flag=flag: flag)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", onednn)
    assert precision.cpu_multiplies_bf16.__wrapped__() is expected


def test_other_processors_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: "arm64")
    for cost, expected in ((0.5, True), (9.0, False)):
        monkeypatch.setattr(precision, "bf16_cost", lambda cost=cost: cost)
        assert precision.cpu_multiplies_bf16.__wrapped__() is expected


def test_emulated_bf16_is_allowed_and_its_price_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    a_processor(monkeypatch, False)
    monkeypatch.setattr(precision, "bf16_cost", lambda: 12.3)
    said: list[Event] = []
    assert settle_precision(ModelConfig(precision="bfloat16"), said.append).precision == "bfloat16"
    (notice,) = said
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert "12 times" in notice.text
    assert settle_precision(ModelConfig(), said.append).precision == "float32"
    assert len(said) == 1


def test_what_a_device_cannot_compute_in_is_refused_with_a_way_out() -> None:
    for device, asked in ((CPU, "float16"), (APPLE, "bfloat16"), (CPU, "float8")):
        with pytest.raises(InputError) as caught:
            pick_dtype(device, asked)
        assert "float32" in caught.value.hint
    with pytest.raises(InputError, match="unknown precision: half"):
        ModelConfig(precision="half")


def test_apples_gpu_is_used_for_unquantized_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("none").type == "mps"
    assert pick_device("nf4").type == "cpu"


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantize", ["nf4", "int8", "none"])
def test_every_quantization_answers_in_the_precision_asked_for(
    tiny_model: Path, quantize: str, asked: str
) -> None:
    found = load_llm(ModelConfig(name=str(tiny_model), quantize=quantize, precision=asked))
    assert found.dtype is precision.DTYPES[asked]
    with torch.no_grad():
        logits = found.model(torch.arange(1, 9)[None]).logits
    assert logits.dtype is found.dtype
    kept = found.model.get_input_embeddings().get_parameter("weight")
    assert kept.dtype is found.dtype
    if quantize == "nf4":
        (kind,) = {m.compute_dtype for m in found.model.modules() if type(m).__name__ == "Linear4bit"}
        assert kind is found.dtype


def test_a_file_from_before_the_setting_means_bfloat16() -> None:
    record = RunConfig().to_dict()
    del record["model"]["precision"]
    assert RunConfig.from_dict(record).model.precision == "bfloat16"


def test_what_older_versions_computed_keeps_its_checksum() -> None:
    from core.benchmark.run import method_config

    config = with_overrides(RunConfig(), model={"precision": "bfloat16"})
    assert "precision" not in method_config(config, "lora")["model"]
    other = with_overrides(RunConfig(), model={"precision": "float32"})
    assert method_config(other, "lora")["model"]["precision"] == "float32"
    assert method_config(config, "sasrec") == method_config(other, "sasrec")
