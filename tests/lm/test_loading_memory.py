"""Loading takes no more memory than the check before it asks for: the weights arrive layer by layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = """
import sys, torch; from transformers import LlamaConfig, LlamaForCausalLM; from tests import tiny
config = LlamaConfig(vocab_size=320, hidden_size=1024, intermediate_size=4096, num_hidden_layers=16,
                     num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=True)
torch.set_default_dtype(torch.bfloat16)
LlamaForCausalLM(config).save_pretrained(sys.argv[1]); tiny.tokenizer().save_pretrained(sys.argv[1])
"""
LOAD = """
import json, sys, threading; from pathlib import Path
import transformers.models.llama.modeling_llama, bitsandbytes
from core.config.settings import ModelConfig; from core.lm import loading
from tests import tiny
folder, quantize = sys.argv[1:]
loading.load_llm(ModelConfig(name=str(tiny.save_model(Path(folder).parent / "small")), quantize=quantize))
def own():
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition("RssAnon:")[2].split()[0])
seen, before, over = [0], own(), threading.Event()
def watch():
    while not over.wait(0.005):
        seen.append(own())
threading.Thread(target=watch, daemon=True).start()
config = ModelConfig(name=folder, quantize=quantize, precision="float32")
loading.load_llm(config); over.set(); taken = max(seen) - before
print(json.dumps([taken, loading.estimate_bytes(Path(folder), config), loading.LOADING]))
"""


def said(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 270 million weights, half a gigabyte on disk."""
    folder = tmp_path_factory.mktemp("model") / "large"
    said(MAKE, str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="a process's own memory, without mapped files, is told there"
)
@pytest.mark.parametrize("quantize", ["none", "int8", "nf4"])
def test_loading_takes_what_was_asked_for_before(model: Path, quantize: str) -> None:
    taken, estimate, beside = json.loads(said(LOAD, str(model), quantize).splitlines()[-1])
    print(f"{quantize}: {taken / 2**20:.0f} MiB taken, {estimate / 2**20:.0f} MiB of weights")
    assert taken < 1.2 * estimate + beside
