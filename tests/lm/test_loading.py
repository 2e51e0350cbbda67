"""A language model is found, fits, and is loaded frozen and quantized; or one line says why not."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path

import pytest
import torch

from core.config.settings import ModelConfig
from core.errors import ModelError
from core.lm import loading as module
from core.lm.loading import check_memory, estimate_bytes, free_memory, load_llm, resolve_model
from tests import tiny

CPU = torch.device("cpu")


def linears(model: torch.nn.Module) -> set[str]:
    """Kinds of the layers that an adapter would go on."""
    return {type(m).__name__ for name, m in model.named_modules() if name.endswith("_proj")}


@pytest.mark.parametrize(
    ("quantize", "kind"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt"), ("none", "Linear")]
)
def test_the_weights_are_held_as_asked_and_frozen(tiny_model: Path, quantize: str, kind: str) -> None:
    found = load_llm(ModelConfig(name=str(tiny_model), quantize=quantize))
    assert linears(found.model) == {kind}
    assert found.quantization == quantize
    assert not found.model.training
    assert not any(p.requires_grad for p in found.model.parameters())
    assert (found.width, found.depth) == (tiny.WIDTH, tiny.LAYERS)
    ids = torch.tensor([tiny.tokenizer().encode("Amber Fox\n")], device=found.device)
    logits = found.model(ids).logits
    assert torch.isfinite(logits).all()
    whole = tiny.llama(dtype=torch.bfloat16)(ids.cpu()).logits.float()
    similarity = torch.nn.functional.cosine_similarity(logits.float().cpu().flatten(), whole.flatten(), dim=0)
    assert similarity > (0.999 if quantize == "none" else 0.8)


def test_nf4_is_double_quantized_and_computes_in_16_bit(tiny_model: Path) -> None:
    found = load_llm(ModelConfig(name=str(tiny_model), quantize="nf4"))
    layer = found.decoder.layers[0].mlp.up_proj
    assert layer.weight.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    assert layer.compute_dtype == found.dtype
    assert layer.weight.numel() * 2 == tiny.WIDTH * 2 * tiny.WIDTH  # two weights in a byte


def test_every_4_bit_layer_is_guarded_against_repacking(tiny_model: Path) -> None:
    found = load_llm(ModelConfig(name=str(tiny_model), quantize="nf4"))
    guards = [
        m.support_avx512bf16_for_cpu
        for m in found.model.modules()
        if hasattr(m, "support_avx512bf16_for_cpu")
    ]
    assert len(guards) == 7 * tiny.LAYERS
    assert not any(guards)


def test_a_tokenizer_without_padding_gets_one(tiny_model: Path, tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            settings = json.loads((folder / name).read_text())
            settings.pop("pad_token", None)
            (folder / name).write_text(json.dumps(settings))
    assert load_llm(ModelConfig(name=str(folder), quantize="none")).tokenizer.pad_token_id is not None


def test_loading_prints_nothing_and_leaves_logging_and_warnings_as_they_were(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(warnings.filters), sys.stderr, logging.getLogger("transformers").level
    load_llm(ModelConfig(name=str(tiny_model), quantize="none"))
    assert (list(warnings.filters), sys.stderr, logging.getLogger("transformers").level) == before
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err == ""


# --- what cannot be loaded ---------------------------------------------------------------------------------


def refused(name: Path | str, says: str, quantize: str = "none") -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_llm(ModelConfig(name=str(name), quantize=quantize))
    assert says in caught.value.title
    assert "\n" not in caught.value.title
    assert caught.value.hint
    return caught.value


def test_a_missing_folder_gguf_or_config_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such model folder")
    refused(tmp_path / "model.gguf", "no such GGUF file")
    refused(tmp_path, "no config.json")
    refused("./here", "no such model folder")
    refused("a/b/c", "no such model folder")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_model_folder_is_one_line(tmp_path: Path, file: str, damage: str) -> None:
    folder = tiny.save_model(tmp_path / "model")
    content = (folder / file).read_bytes()
    (folder / file).unlink()
    if damage != "missing":
        (folder / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    refused(folder, "")


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save(tiny.llama().state_dict(), folder / "pytorch_model.bin")
    refused(folder, "cannot load the model")


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "invented"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    refused(folder, "cannot load the model")
    assert not (tmp_path / "ran").exists()


def test_a_hub_name_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    refused("nobody/no-such-model-anywhere", "cannot fetch the model nobody/no-such-model-anywhere")


def test_without_bitsandbytes_the_hint_is_to_go_without_quantization(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    error = refused(tiny_model, "needs bitsandbytes", quantize="nf4")
    assert "--quantize none" in error.hint


# --- memory ------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_is_refused_before_loading(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pick_device", lambda *_: CPU)
    monkeypatch.setattr(module, "free_memory", lambda: 1000)
    monkeypatch.setattr(module, "_load", lambda *_: pytest.fail("it was loaded"))
    error = refused(tiny_model, "GiB are free")
    assert "nf4" in error.hint
    assert "smaller --model" in refused(tiny_model, "GiB are free", quantize="nf4").hint


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_estimate_is_near_what_the_loaded_weights_take(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = tiny.save_model(tmp_path / "model", dtype)
    for quantize in ("nf4", "int8", "none"):
        estimate = estimate_bytes(folder, ModelConfig(quantize=quantize))
        loaded = load_llm(ModelConfig(name=str(folder), quantize=quantize))
        taken = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
        assert estimate is not None
        assert 0.8 * taken < estimate < 1.6 * taken, quantize


def test_what_cannot_be_estimated_is_not_refused(tmp_path: Path) -> None:
    assert estimate_bytes(tmp_path, ModelConfig()) is None
    check_memory(tmp_path, ModelConfig(), CPU)


def test_free_memory_is_positive_and_at_most_what_the_machine_has() -> None:
    import psutil

    assert 0 < free_memory() <= psutil.virtual_memory().total


# --- GGUF --------------------------------------------------------------------------------------------------


def test_a_gguf_file_is_converted_once_and_again_when_it_changes(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def convert(gguf: Path, folder: Path) -> None:
        made.append(gguf)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(module, "convert", convert)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    config = ModelConfig(name=str(file))
    first = resolve_model(config)
    assert resolve_model(config) == first
    assert len(made) == 1
    file.write_bytes(b"another one")
    assert resolve_model(config) != first
    assert len(made) == 2


def gguf_bytes(folder: Path) -> bytes:
    """A small whole GGUF file: a Llama's settings, a vocabulary and one tensor."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(folder / "whole.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([chr(65 + place) for place in range(26)])
    writer.add_token_types([1] * 26)
    writer.add_tensor("token_embd.weight", np.ones((26, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "whole.gguf").read_bytes()


@pytest.mark.parametrize("share", [None, 0.0, 0.001, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_conversion_of_a_file_that_is_cut_off_or_none_at_all_leaves_nothing(
    own_home: Path, tmp_path: Path, share: float | None
) -> None:
    file, whole = tmp_path / "model.gguf", gguf_bytes(tmp_path)
    file.write_bytes(b"not a gguf file" if share is None else whole[: int(share * len(whole))])
    refused(file, "cannot convert")
    left = [path for path in (own_home / "models").iterdir() if not path.name.endswith(".lock")]
    assert not left
