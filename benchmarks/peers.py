"""Training and ranking beside the libraries one would use otherwise, alternated in one process.

    pip install -e '.[peers]'
    python benchmarks/peers.py [--rounds 3] [--users 30] [--batch 16] [--threads 2]

On MovieLens-100K with the embedded model and the quick preset's settings (NF4, rank 16 on the top ten
layers). All read the same rows: preamble, history and question, then 20 candidates, each hidden from the
others. Each round gives both sides the same rows, and who goes first changes every round. Printed: medians
with 95 % bootstrap intervals, the ratio beside its aim, and who wins where it is the peer.

Training, beside peft + transformers: the same layers adapted in the same base model, precision, batch,
micro-batches, loss, clipping and AdamW. The peer does what its user would write: all 30 layers read the
packed rows under a 4-D mask, and a linear head scores the states at the candidates' ends; no output layer,
and no gradient below the lowest adapter. What differs:

- its frozen lower layers read every row anew; ours read each title once, after the preamble alone, and keep
  the states, so that the upper layers get other states than the peer's. That reading, of the whole catalogue,
  comes before the clock starts;
- it has no item vectors; ours trains a projector for them. The peer would need gradients through all layers.

Ranking, beside llama.cpp: one user at a time. Ours: encoder, gate, adapter and head, ten layers in one packed
pass over kept states. Theirs: titles as likelihoods, from the GGUF file that our NF4 weights are made of. The
preamble is kept; history and question are decoded once, their cache shared by 20 sequences, and all titles
decoded in one batch, without the last token of each, whose likelihood the one before it tells. It multiplies
4-bit weights by 8-bit activations, reads all tokens through all layers, and needs no training. Only time is
compared, not who ranks better; tokenization is timed on neither side. Without llama-cpp-python this part is
left out, and the output says so.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ratios import Timed, asking, ranking, say, seconds
from torch import Tensor, nn
from training_step import Batch, Stepper, adapted, make_batches, micro_batches

from core.assets.known import embedded_model_file
from core.config.presets import preset_config
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.events import silent
from core.hardware import describe
from core.ilora.attaching import attach_adapter
from core.lm.attention import additive
from core.lm.decoder import at
from core.lm.loading import LanguageModel, load_llm, pick_device
from core.lm.precision import name_of, pick_dtype
from core.lm.prompts import ListwisePrompt, visible

CANDIDATES = 20
TRAINING_AIM, RANKING_AIM = 1.5, 1.0


class PlainPeft:
    """LoRA by peft around transformers' model, with a linear head; what `Stepper` trains."""

    def __init__(self, config: RunConfig, prompt: ListwisePrompt, llm: LanguageModel | None = None) -> None:
        self.prompt, self.llm = prompt, llm or load_llm(config.model)
        lower = self.llm.depth - config.adapter.layers if config.adapter.layers else 0
        self.decoder: Any = self.llm.decoder
        self.model = attach_adapter(self.llm, config.adapter, lower)
        self.head = nn.Linear(self.llm.width, 1).to(self.llm.device)

    def train(self) -> None:
        """Training mode."""
        self.model.train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: one, without decay."""
        adapter = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": [*adapter, *self.head.parameters()], "weight_decay": 0.0}]

    def scores(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Tensor:
        """(batch, C) scores, read at the candidates' last tokens."""
        device, packed = self.llm.device, self.prompt.pack(histories, candidates)
        states = self.decoder(
            input_ids=torch.from_numpy(self.prompt.ids[packed.tokens]).to(device),
            position_ids=torch.from_numpy(packed.positions).to(device),
            attention_mask=additive(visible(packed.branch), self.llm.dtype, device),
            use_cache=False,
        ).last_hidden_state
        scores: Tensor = self.head(at(states, torch.from_numpy(packed.ends).to(device)).float()).squeeze(-1)
        return scores

    @contextmanager
    def loss(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        targets: Sequence[int],
    ) -> Iterator[Tensor]:
        """The summed cross-entropy of the targets among the candidates."""
        scores = self.scores(histories, candidates)
        yield F.cross_entropy(scores, torch.tensor(targets, device=scores.device), reduction="sum")


class LlamaCpp:
    """Ranks by the likelihoods of titles after a shared history, in llama.cpp.

    Raises:
        RuntimeError: llama.cpp cannot load the file or decode a batch.
    """

    LONGEST = 1024
    """Tokens in a batch at most: 20 titles and more."""

    def __init__(self, file: Path, prompt: ListwisePrompt, threads: int) -> None:
        import llama_cpp

        self.api, self.prompt = llama_cpp, prompt
        self._log = llama_cpp.llama_log_callback(lambda *_: None)  # called for as long as this lives
        llama_cpp.llama_log_set(self._log, None)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp cannot load {file}")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = 2 * self.LONGEST, CANDIDATES + 1
        settings.n_batch = settings.n_ubatch = self.LONGEST
        settings.n_threads = settings.n_threads_batch = threads
        settings.kv_unified = True  # so that a copied sequence shares its cells
        self.context = llama_cpp.llama_init_from_model(model, settings)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(self.LONGEST, 0, 1)
        self.kept = len(prompt.preamble.tokens)
        places, zeros = np.arange(self.kept), np.zeros(self.kept, dtype=np.int64)
        self._decode(prompt.ids[prompt.preamble.tokens], places, zeros, zeros)

    def _decode(
        self, tokens: np.ndarray, positions: np.ndarray, row: np.ndarray, asked: np.ndarray
    ) -> Tensor:
        """(asked tokens, vocabulary) logits, valid until the next call.

        Args:
            tokens: (n,) ids.
            positions: (n,) places in their sequences.
            row: (n,) each token's sequence.
            asked: (n,) 1 where the logits are wanted, else 0.
        """
        batch, count = self.batch, len(tokens)
        batch.n_tokens = count
        for field, values in (
            (batch.token, tokens), (batch.pos, positions), (batch.logits, asked), (batch.n_seq_id, 1)
        ):  # fmt: skip
            np.ctypeslib.as_array(field, (count,))[:] = values
        for place, sequence in enumerate(row.tolist()):
            batch.seq_id[place][0] = sequence
        if code := self.api.llama_decode(self.context, batch):
            raise RuntimeError(f"llama.cpp could not decode {count} tokens (code {code})")
        wanted = int(asked.sum())
        if not wanted:
            return torch.empty(0, self.vocabulary)
        logits = self.api.llama_get_logits(self.context)
        return torch.from_numpy(np.ctypeslib.as_array(logits, (wanted, self.vocabulary)))

    def scores(self, history: Sequence[int], candidates: Sequence[int]) -> Tensor:
        """(C,) log-likelihoods of the candidates' titles with their lines' ends."""
        packed = self.prompt.pack([history], [candidates])
        ids, branch, positions = self.prompt.ids[packed.tokens[0]], packed.branch[0], packed.positions[0]
        self.api.llama_memory_seq_rm(self.memory, -1, self.kept, -1)
        shared = np.flatnonzero(branch == 0)[self.kept :]
        last = (shared == shared[-1]).astype(np.int64)
        logits = self._decode(ids[shared], positions[shared], branch[shared], last)[0]
        starts = torch.from_numpy(ids[np.append(shared[-1], packed.ends[0, :-1]) + 1])
        scores = logits[starts] - logits.logsumexp(-1)
        for sequence in range(1, len(candidates) + 1):
            self.api.llama_memory_seq_cp(self.memory, 0, sequence, 0, int(positions[shared[-1]]) + 1)
        own = np.setdiff1d(np.flatnonzero(branch > 0), packed.ends[0])
        logits = self._decode(ids[own], positions[own], branch[own], np.ones_like(own))
        told = logits.gather(-1, torch.from_numpy(ids[own + 1])[:, None])[:, 0] - logits.logsumexp(-1)
        return scores.index_add(0, torch.from_numpy(branch[own] - 1), told)

    def rank(self, batch: Batch) -> None:
        """Scores the candidates of each user, one after the other."""
        for history, candidates in zip(batch.histories, batch.candidates, strict=True):
            self.scores(history, candidates)


def conditions(config: RunConfig) -> str:
    """Processor, precision and model, which every figure depends on."""
    device = pick_device(config.model.quantize)
    kind = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
    precision = name_of(pick_dtype(device, config.model.precision))
    return (
        f"{describe()}, {kind}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
        f"{config.model.name}, {config.model.quantize}, {precision}, rank {config.adapter.rank} on the top "
        f"{config.adapter.layers} layers; medians, 95 % intervals"
    )


def against(aim: float, ratios: np.ndarray, peer: str) -> str:
    """What a ratio of theirs over ours in time means."""
    median = float(np.median(ratios))
    verdict = "reached" if median >= aim else "missed"
    return f"aim at least {aim:g}: {verdict}" + (f"; {peer} wins" if median < 1 else "")


def compare_training(config: RunConfig, dataset: Dataset, samples: Samples, size: int, rounds: int) -> None:
    """Times training steps of both on the same batches, and prints."""
    ours = adapted(config, dataset, gated=False)
    prompt: ListwisePrompt = ours.ranker.prompt  # type: ignore[assignment]
    ways: list[Timed] = [Stepper(model).step for model in (ours, PlainPeft(config, prompt))]
    micro = config.training.micro_batch_size
    steps = [micro_batches(ours, batch, micro) for batch in make_batches(dataset, samples, size, rounds + 1)]
    steps[0] = steps[0][:1]  # enough to warm up
    times = seconds(ways, steps, warm_up=1)
    print(f"training LoRA, {rounds} steps of {size} samples by {micro}, samples a second")
    say("  ilora-app", size / times[:, 0], "")
    say("  peft + transformers", size / times[:, 1], "")
    ratios = times[:, 1] / times[:, 0]
    say("  ilora-app / peft", ratios, against(TRAINING_AIM, ratios, "peft"))


def compare_ranking(config: RunConfig, dataset: Dataset, samples: Samples, users: int) -> None:
    """Times the ranking of one user after the other by both, and prints."""
    print(f"ranking {CANDIDATES} candidates, {users} users one at a time, ms a user")
    if importlib.util.find_spec("llama_cpp") is None:
        print("  not measured: llama-cpp-python is not installed (pip install -e '.[peers]')")
        return
    ours = adapted(config, dataset, gated=True)
    prompt: ListwisePrompt = ours.ranker.prompt  # type: ignore[assignment]
    peer = LlamaCpp(embedded_model_file(silent), prompt, torch.get_num_threads())
    warm_up = 3
    asked = asking(dataset, samples, 1, warm_up + users, CANDIDATES)
    times = 1000 * seconds([ranking(ours), peer.rank], asked, warm_up)
    say("  ilora-app", times[:, 0], "")
    say("  llama.cpp", times[:, 1], "")
    ratios = times[:, 1] / times[:, 0]
    say("  llama.cpp / ilora-app", ratios, against(RANKING_AIM, ratios, "llama.cpp"))


def main() -> None:
    """Measures and prints."""
    config = preset_config("quick")
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="measured training steps")
    options.add_argument("--batch", type=int, default=config.training.batch_size, help="samples in a step")
    options.add_argument("--users", type=int, default=30, help="users whose candidates are ranked")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's own if left out")
    given = options.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    dataset, samples = load_task_data(config.data)
    print(conditions(config), flush=True)
    compare_training(config, dataset, samples, given.batch, given.rounds)
    compare_ranking(config, dataset, samples, given.users)


if __name__ == "__main__":
    main()
