"""Model folders as people have them: each works, or is refused in one line that says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.config.settings import ModelConfig
from core.errors import ModelError
from core.lm.checking import load_checked, try_model
from core.lm.folder import own_quantization, weight_files
from core.lm.loading import disable_cpu_packing, estimate_bytes
from tests import families, tiny

pytestmark = pytest.mark.usefixtures("own_home")


def config(folder: Path, quantize: str = "none") -> ModelConfig:
    return ModelConfig(name=str(folder), quantize=quantize, precision="float32")


def refused(folder: Path, says: str, quantize: str = "none") -> ModelError:
    with pytest.raises(ModelError, match=says) as caught:
        try_model(config(folder, quantize))
    assert "\n" not in caught.value.title + caught.value.hint
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path / "m")


def test_weights_in_several_files_are_one_model(tmp_path: Path) -> None:
    families.make(families.WORK["llama"]()).save_pretrained(tmp_path / "m", max_shard_size="60KB")
    tiny.tokenizer().save_pretrained(tmp_path / "m")
    assert len(weight_files(tmp_path / "m")) > 1
    assert load_checked(config(tmp_path / "m")).depth == 3


def test_weights_that_lie_there_twice_are_counted_once(folder: Path) -> None:
    once = estimate_bytes(folder, config(folder))
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert estimate_bytes(folder, config(folder)) == once
    load_checked(config(folder))


def test_of_a_hub_model_one_copy_of_the_weights_is_fetched() -> None:
    from huggingface_hub.utils import filter_repo_objects

    from core.lm.loading import HUB_FILES

    held = [
        "config.json",
        "consolidated.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "original/consolidated.00.pth",
        "pytorch_model.bin",
    ]
    kept = list(filter_repo_objects(held, allow_patterns=list(HUB_FILES)))
    assert kept == ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]


def test_an_adapter_in_place_of_a_model_names_what_it_belongs_on(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    assert "someone/base" in refused(tmp_path, "is an adapter, not a language model").hint


def test_pickled_weights_alone_are_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "save_pretrained" in refused(folder, "pickled").hint


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8"])
def test_weights_quantized_by_other_means_are_refused_by_their_name(folder: Path, method: str) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(settings))
    refused(folder, f"quantized already, by {method}")


def test_weights_in_4_bit_already_are_called_so(folder: Path, tmp_path: Path) -> None:
    model = tiny.nf4(folder)
    disable_cpu_packing(model)  # or its first answer repacks the weights
    model.save_pretrained(tmp_path / "four")
    tiny.tokenizer().save_pretrained(tmp_path / "four")
    four = tmp_path / "four"
    assert own_quantization(four) == "nf4"
    for other in ("none", "int8"):
        assert "--quantize nf4" in refused(four, "quantized already, to nf4", other).hint
    llm = load_checked(config(four, "nf4"))
    assert llm.quantization == "nf4"
    with torch.no_grad():
        ids = torch.arange(2, 20)[None]
        torch.testing.assert_close(llm.model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_weights_in_fp16_work(tmp_path: Path) -> None:
    llm = load_checked(config(tiny.save_model(tmp_path / "m", torch.float16)))
    assert llm.model.dtype == torch.float32


def test_a_tokenizer_that_drops_line_ends_is_refused(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(tiny.TITLES, trainers.WordPieceTrainer(special_tokens=["<unk>"]))
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(folder)
    refused(folder, "no token for a line's end")


def test_a_model_without_a_tokenizer_is_refused(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    refused(folder, "cannot load the model")


def test_a_tokenizer_without_any_special_token_works(folder: Path) -> None:
    plain = PreTrainedTokenizerFast(tokenizer_object=tiny.tokenizer().backend_tokenizer)
    plain.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).eos_token_id is None
    load_checked(config(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**9), ("num_hidden_layers", "x"), ("num_hidden_layers", None),
        ("num_hidden_layers", -1), ("hidden_size", "x"), ("hidden_size", [64]), ("hidden_size", 2**40),
        ("vocab_size", None), ("vocab_size", "many"), ("vocab_size", -5), ("model_type", "\x1b[31m"),
        ("model_type", 5), ("architectures", 5), ("num_attention_heads", 0), ("num_key_value_heads", 3),
        ("rope_parameters", "x"), ("rope_parameters", {"rope_type": "odd"}), ("hidden_act", "odd"),
        ("auto_map", {"AutoConfig": "evil.Evil"}), ("intermediate_size", [1]), ("num_experts", 10**8),
        ("max_position_embeddings", "x"), ("tie_word_embeddings", "x"), ("dtype", "odd"), ("layer_types", 5),
    ],
)  # fmt: skip
def test_settings_that_say_odd_things_work_or_are_one_line(folder: Path, key: str, value: object) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, key: value}))
    try:
        try_model(config(folder))
    except ModelError as error:
        assert "\n" not in error.title and "\x1b" not in error.title and error.hint


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["", "[" * 100_000, "{", "[]", "null", '{"a": ' * 50_000, "\x00", "\udc80"])
def test_settings_that_are_nonsense_work_or_are_one_line(folder: Path, file: str, text: str) -> None:
    (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        try_model(config(folder))
    except ModelError as error:
        assert "\n" not in error.title and error.hint


@pytest.mark.parametrize("quantize", ["none", "nf4"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(folder: Path, quantize: str, number: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.embed_tokens.weight"
    tensors[name][-1, -1] = number
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    refused(folder, f"{name} in model.safetensors holds numbers that are not finite", quantize)


def test_a_file_that_never_ends_is_not_waited_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    refused(folder, "cannot load the model")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(folder, "holds no config.json")
