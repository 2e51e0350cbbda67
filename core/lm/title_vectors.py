"""Titles as vectors: what the frozen language model makes of each title, read once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.assets.spec import home
from core.errors import Interrupted
from core.events import Notice
from core.files import atomic_path
from core.lm.decoder import decoder_view
from core.lm.loading import LanguageModel
from core.lm.prompts import MAX_TITLE_TOKENS, beginning, encode_titles
from core.lm.states import weights_digest
from core.lm.views import run_view
from core.stages import UNWATCHED, Watch

TITLES_PER_PASS = 64
DEPTH = 1 / 3
"""The share of the layers that is run: on validation users MoRec is better with these than with more."""


@torch.no_grad()
def title_vectors(llm: LanguageModel, titles: Sequence[str], watch: Watch = UNWATCHED) -> Tensor:
    """A vector for each title: the mean state over its tokens, after a third of the layers.

    The token that starts a text is read first and left out of the mean, where the model has one: its state is
    the same for all titles, and large.

    Returns:
        (items, width of the language model) float32, on the CPU.

    Raises:
        Interrupted: the watch asked to stop.
    """
    spoken = encode_titles(llm.tokenizer, [f" {title}" for title in titles])
    start = beginning(llm.tokenizer)
    rows = [[*start, *ids[:MAX_TITLE_TOKENS]] for ids in spoken]
    stop = max(1, round(DEPTH * llm.depth))
    digest = weights_digest(llm, stop)
    digest.update(repr(rows).encode())
    store = home() / "titles" / f"{digest.hexdigest()[:16]}.safetensors"
    if store.is_file():
        try:
            return load_file(store)["vectors"]
        except (OSError, SafetensorError, KeyError) as error:
            watch.emit(Notice(f"{store} is damaged ({error}); reading the titles again", "warning"))
    watch.emit(Notice(f"reading {len(rows):,} titles with the language model, once"))
    stage = watch.stage("read", len(rows))
    view = decoder_view(llm.decoder, 0, stop, norm=False, packed=llm.reading.packed)
    vectors = torch.zeros(len(rows), llm.width)
    order = np.argsort([len(row) for row in rows], kind="stable")  # rows of a pass are of similar length
    for place in range(0, len(order), TITLES_PER_PASS):
        if watch.should_stop():
            raise Interrupted
        part = order[place : place + TITLES_PER_PASS]
        vectors[torch.from_numpy(part)] = _mean_states(llm, view, [rows[i] for i in part], len(start))
        stage.advance(len(part))
    with atomic_path(store) as temporary:
        save_file({"vectors": vectors}, temporary)
    return vectors


def _mean_states(llm: LanguageModel, view: nn.Module, rows: list[list[int]], skipped: int) -> Tensor:
    """(n, width): the mean of each row's states after the view's layers, the first `skipped` left out."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=llm.device)
    real = torch.tensor([[place < len(row) for place in range(length)] for row in rows], device=llm.device)
    hidden = llm.model.get_input_embeddings()(ids)
    states = run_view(view, hidden, attention_mask=real.long()).float()
    counted = real[..., None].float()
    counted[:, :skipped] = 0
    mean: Tensor = (states * counted).sum(1) / counted.sum(1)
    return mean.cpu()
