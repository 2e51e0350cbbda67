"""A run with item tokens is served by plain programs: their next token's logits are the run's own scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor

from core.config.presets import with_overrides
from core.config.serveable import obstacles, with_serveable
from core.config.settings import ModelConfig, RunConfig
from core.errors import InputError
from core.ilora.gguf_base import OWN, TOKENS, TYPES, UNUSED
from core.lm.token_ranker import TokenRanker
from core.recommenders.registry import method_class
from core.runs.exporting_clusters import export_clusters
from core.runs.exporting_experts import FACTS, export_experts
from core.runs.llama_client import prompt_tokens
from core.runs.prompt_files import PROMPT
from core.runs.store import OpenRun, open_run, run_folder, save_run
from ilora_app.cli import main
from tests import llama_stand_in, made_up, tiny
from tests.ilora.test_model import adapted, stirred
from tests.runs.test_experts import command, opened
from tests.runs.test_llama_client import Client

pytestmark = pytest.mark.usefixtures("tiny_home")

HISTORIES = tiny.histories(3)
CANDIDATES = tiny.candidates(3)


def settings(model: Any = "tiny-llama", **training: Any) -> RunConfig:
    wanted = with_serveable({"training": {"item_tokens": True, **training}})
    return with_overrides(tiny.config(model), **wanted)


def served(run: OpenRun, out: Path) -> list[Tensor]:
    """Each history's next-token logits of a plain base with all adapters at their scales, by peft alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt, facts = (json.loads((out / name).read_text()) for name in (PROMPT, FACTS))
    base = AutoModelForCausalLM.from_pretrained(out / "base")
    tokenizer = AutoTokenizer.from_pretrained(out / "base")
    names = [f"expert-{place}" for place in range(4)]
    model = PeftModel.from_pretrained(base, out / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(out / name, adapter_name=name)
    model.base_model.set_adapter(names)
    ids, found = run.dataset.catalogue.ids, []
    for history in HISTORIES:
        omega = run.recommender.expert_weights([history])
        assert omega is not None
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                for name, weight in zip(names, omega[0], strict=True):
                    layer.set_scale(name, facts["scale"] * float(weight))
        said = prompt["text"]["before"] + "".join(prompt["text"]["items"][ids[item]] for item in history)
        tokens = tokenizer(said, add_special_tokens=False, return_tensors="pt").input_ids
        assert tokens[0].tolist() == prompt_tokens(prompt, [ids[item] for item in history], [])
        with torch.no_grad():
            logits = model.eval()(input_ids=tokens).logits[0, -1]
        assert len(logits) == prompt["vocabulary"]
        found.append(logits[[prompt["answers"][item][0] for item in ids]])
    return found


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_plain_peft_on_the_exported_base_ranks_as_the_run_does(tmp_path: Path, objective: str) -> None:
    run = opened(settings(objective=objective), tmp_path)
    out = tmp_path / "out"
    written = export_experts(run, out)
    assert written.missing == ()
    assert written.base_model == "base"
    own: Any = run.recommender
    with torch.no_grad():
        expected = own.model.scores(HISTORIES, [list(range(tiny.ITEMS))] * len(HISTORIES))
    for found, scores in zip(served(run, out), expected, strict=True):
        torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-4)
    assert "`base` is the base model with a token for each item" in (out / "README.md").read_text()


def test_weights_in_four_bit_are_exported_as_they_are_multiplied(tmp_path: Path, tiny_model: Path) -> None:
    llm = tiny.as_language_model(tiny.nf4(tiny_model), "nf4")
    run = opened(settings(), tmp_path)
    own: Any = run.recommender
    own.model = stirred(adapted(settings=settings(), llm=llm))
    own.model.train(False)
    export_experts(run, tmp_path / "out")
    with torch.no_grad():
        expected = own.model.scores(HISTORIES, [list(range(tiny.ITEMS))] * len(HISTORIES))
    for found, scores in zip(served(run, tmp_path / "out"), expected, strict=True):
        torch.testing.assert_close(found, scores, rtol=1e-3, atol=1e-3)


def test_a_few_folded_adapters_for_everybody_come_with_the_base_and_the_prompt(tmp_path: Path) -> None:
    run, out = opened(settings(), tmp_path), tmp_path / "few"
    export_clusters(run, out, 2)
    prompt = json.loads((out / PROMPT).read_text())
    assert prompt["base_model"] == "base" and len(prompt["answers"]) == tiny.ITEMS
    assert (out / "base" / "config.json").is_file()
    assert "each item's one token as token ids" in (out / "README.md").read_text()


# --- GGUF --------------------------------------------------------------------------------------------------


def source(path: Path, tokens: int) -> Path:
    """What a GGUF file of the tiny model says of it, and one tensor that only llama.cpp knows."""
    import gguf

    config = tiny.llama().config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(tokens)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{place}" for place in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_bos_token_id(0)
    writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_run(tmp_path: Path, name: str) -> OpenRun:
    config = dataclasses.replace(settings(), model=ModelConfig(name=name, quantize="none"))
    return opened(config, tmp_path)


def test_the_gguf_base_is_the_exported_one_with_the_originals_settings_and_more_tokens(
    tmp_path: Path,
) -> None:
    """Read by transformers' own reader of GGUF weights, in 16 bit."""
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, GgufConfig

    from core.lm.loading import quiet

    known = len(tiny.tokenizer()) - 2  # the last two are missing
    run = gguf_run(tmp_path, str(source(tmp_path / "tiny.gguf", known)))
    export_experts(run, tmp_path / "out", "gguf")
    export_experts(run, tmp_path / "plain")
    file = tmp_path / "out" / "base.gguf"
    reader = GGUFReader(file)
    values = {name: field.contents() for name, field in reader.fields.items()}
    own: Any = run.recommender
    first = own.model.ranker.prompt.first
    assert values[TOKENS][first : first + 2] == ["<item_0>", "<item_1>"]
    assert values[TYPES][first:] == [OWN] * tiny.ITEMS
    assert values[TYPES][known:first] == [UNUSED] * 2
    assert values["llama.vocab_size"] == len(values[TOKENS]) == first + tiny.ITEMS
    assert values["general.name"] == "Tiny"
    assert values["general.file_type"] == 1
    assert values["tokenizer.ggml.bos_token_id"] == 0
    assert "rope_freqs.weight" in {tensor.name for tensor in reader.tensors}
    with quiet():
        found = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    expected = AutoModelForCausalLM.from_pretrained(tmp_path / "plain" / "base", dtype=torch.float32)
    ids = torch.tensor([own.model.ranker.prompt.tokens([HISTORIES[0]])[0]])
    with torch.no_grad():
        theirs, ours = (model.eval()(input_ids=ids).logits for model in (found, expected))
    torch.testing.assert_close(theirs, ours, rtol=2e-2, atol=2e-2)


def test_the_exported_client_ranks_by_the_items_tokens(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    run = gguf_run(tmp_path, str(source(tmp_path / "tiny.gguf", len(tiny.tokenizer()))))
    export_experts(run, tmp_path / "gguf", "gguf")
    export_experts(run, tmp_path / "peft")
    names = [f"expert-{place}" for place in range(4)]
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "peft" / "base")
    model = llama_stand_in.experts(base, tmp_path / "peft", names)
    server = llama_stand_in.Server(model, names, [f"{name}.gguf" for name in names])
    client, own = Client(tmp_path / "gguf"), run.recommender
    with llama_stand_in.serving(server) as url:
        client.code["check_server"](url, client.prompt)
        for history, row in zip(HISTORIES, CANDIDATES, strict=True):
            ids = [[run.dataset.catalogue.ids[item] for item in items] for items in (history, row)]
            found = np.array(client.rank(url, *ids))
            expected = own.model.scores([history], [row])[0].detach().numpy()  # type: ignore[attr-defined]
            np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-3)
    assert len(server.asked) == len(HISTORIES)  # one request each, however many candidates


def test_a_model_that_came_as_a_folder_says_how_it_becomes_gguf(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only where it came as a GGUF file") as refused:
        export_experts(gguf_run(tmp_path, "tiny-llama"), tmp_path / "out", "gguf")
    assert "convert_hf_to_gguf" in refused.value.hint
    assert not (tmp_path / "out").exists()


# --- runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "ilora"])
def test_a_trained_run_reopens_with_its_scores_and_ranks_the_whole_catalogue(
    tmp_path: Path, tiny_model: Path, method: str
) -> None:
    config = settings(tiny_model, samples=8)
    task = tiny.task(config, tmp_path)
    recommender: Any = method_class(method)()
    report = recommender.fit(task)
    assert "each item is a token" in report.notes[0]
    assert isinstance(recommender.model.ranker, TokenRanker)
    path = run_folder(tmp_path / "runs", "tiny", "paper", method, 0, "ab" * 32)
    save_run(recommender, task, path, made_up.result(method))
    again = open_run(path).recommender
    rows = [list(range(tiny.ITEMS))] * len(HISTORIES)
    expected = recommender.score(HISTORIES, rows)
    np.testing.assert_array_equal(again.score(HISTORIES, rows), expected)
    assert np.isfinite(expected).all() and (expected.std(axis=1) > 0).all()
    if method == "ilora":
        assert command(path, "--experts", "--out", tmp_path / "out") == 0
        assert (tmp_path / "out" / "base" / "config.json").is_file()


def test_what_a_plain_server_cannot_do_is_left_out_of_both_objectives() -> None:
    for objective in ("listwise", "language-model"):
        assert obstacles(settings(objective=objective)) == []
    assert obstacles(settings()) == [] and settings().training.objective == "listwise"


@pytest.mark.parametrize(
    "given",
    [
        ("--encoder-prior",),
        ("--curriculum", "--objective", "language-model"),
        ("--protocol", "generate", "--objective", "language-model"),
        ("--serveable", "--gate-scope", "per-layer"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_with_item_tokens_is_one_line(
    given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--dataset", "tiny", "--item-tokens", *given])
    said = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert said[0].startswith("error:") and said[1].startswith("hint:") and len(said) == 2
