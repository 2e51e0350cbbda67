"""What the frozen lower layers make of every title, computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import Interrupted
from core.files import atomic_path
from core.lm.decoder import decoder_view, run_decoder
from core.lm.loading import LanguageModel
from core.lm.prompts import ListwisePrompt, Packed, pack
from core.lm.sharding import whole
from core.lm.structure import layers_of
from core.stages import Watch
from core.training import parallel

ITEMS_PER_ROW = 24
ROWS_PER_PASS = 8


class SegmentStates:
    """What the frozen lower layers make of every segment of a listwise prompt, computed once and kept.

    Args:
        llm: the language model.
        prompt: the catalogue's segments.
        lower: number of lower layers.
        store: a file where complete states are kept between runs, if any.
    """

    def __init__(
        self, llm: LanguageModel, prompt: ListwisePrompt, lower: int, store: Path | None = None
    ) -> None:
        self.llm, self.prompt, self.store = llm, prompt, store
        self.embed: nn.Module = llm.model.get_input_embeddings()
        packed = llm.reading.packed
        self.view = decoder_view(llm.decoder, 0, lower, norm=False, packed=packed) if lower else None
        self.ids = torch.from_numpy(prompt.ids).to(llm.device)
        self.known = np.zeros(prompt.items, dtype=bool)
        self.flat = torch.zeros(len(prompt.ids), llm.width, dtype=llm.dtype, device=llm.device)
        if self.view is None:
            self._embed_all()
        elif not self._restore():
            for segment in (prompt.preamble, prompt.question):
                self._read([[] if segment is prompt.preamble else [segment]])

    def _restore(self) -> bool:
        """Takes the states kept by an earlier run; says whether it, and every process with it, could."""
        states = self._kept()
        if parallel.anyone(states is None) or states is None:  # they are read together or not at all
            return False
        self.flat.copy_(states)
        self.known[:] = True
        return True

    def _kept(self) -> Tensor | None:
        """The states in the store; None where there are none, or the file cannot be used."""
        if self.store is None or not self.store.is_file():
            return None
        try:
            states = load_file(self.store)["states"]
        except (OSError, SafetensorError, KeyError):
            return None
        return states if states.shape == self.flat.shape else None

    @torch.no_grad()
    def _embed_all(self) -> None:
        """With no lower layers, the states are the token embeddings."""
        self.flat.copy_(self.embed(self.ids[None])[0])
        self.known[:] = True

    def ensure(self, items: Sequence[int] | np.ndarray, watch: Watch | None = None) -> None:
        """Makes sure that these items' states are known.

        Args:
            items: whose states are needed.
            watch: is told how far the reading is.

        Raises:
            Interrupted: the watch asked to stop.
        """
        asked = np.unique(np.asarray(items, dtype=np.int64))
        missing = asked[~self.known[asked]]
        stage = watch.stage("read", len(missing)) if watch is not None and len(missing) else None
        size = ITEMS_PER_ROW * ROWS_PER_PASS
        for start in range(0, len(missing), size):
            if watch is not None and parallel.told_to_stop(watch.should_stop):
                raise Interrupted
            part = missing[start : start + size]
            whole_rows = -(-len(part) // ITEMS_PER_ROW)
            full = np.resize(part, whole_rows * ITEMS_PER_ROW)  # repeats fill the last row
            self._read([list(map(self.prompt.item, row)) for row in full.reshape(-1, ITEMS_PER_ROW).tolist()])
            self.known[part] = True
            if stage is not None:
                stage.advance(len(part))
        if len(missing) and self.known.all() and self.store is not None and parallel.is_main():
            with atomic_path(self.store) as temporary:
                save_file({"states": self.flat.cpu()}, temporary)

    @torch.no_grad()
    def _read(self, segments: list) -> None:  # type: ignore[type-arg]
        """Reads rows of segments, each as a branch right after the preamble."""
        assert self.view is not None
        packed = pack([[self.prompt.preamble]] * len(segments), segments)
        places = torch.from_numpy(packed.tokens).to(self.llm.device)
        hidden = run_decoder(self.view, self.embed(self.ids[places]), packed)
        real = torch.from_numpy(packed.branch >= 0).to(self.llm.device)
        self.flat[places[real]] = hidden[real].to(self.flat.dtype)

    def gather(self, packed: Packed) -> Tensor:
        """(batch, T, width) states of packed rows."""
        return self.flat[torch.from_numpy(packed.tokens).to(self.llm.device)]

    def scale(self) -> float:
        """Typical size of a state's entry: how large an item's vector must be to be noticed."""
        known = self.flat[: len(self.prompt.preamble.tokens) + len(self.prompt.question.tokens)].float()
        return float(known.square().mean(-1).sqrt().median())


def states_key(llm: LanguageModel, prompt: ListwisePrompt, lower: int) -> str:
    """Names the states of a (model, quantization, precision, prompt, depth): equal keys, equal states."""
    digest = weights_digest(llm, lower)
    digest.update(prompt.ids.tobytes())
    digest.update(prompt.starts.tobytes())
    return digest.hexdigest()[:16]


def weights_digest(llm: LanguageModel, lower: int) -> hashlib._Hash:
    """A digest of what decides the states after a model's `lower` lowest layers, apart from their input."""
    digest = hashlib.sha256()
    weight: Tensor = llm.model.get_input_embeddings().get_parameter("weight").detach()
    for part in (llm.name, llm.quantization, str(llm.dtype), llm.device.type, str(lower), str(weight.shape)):
        digest.update(f"{part}\n".encode())
    digest.update(weight[:: max(1, len(weight) // 64)].float().cpu().numpy().tobytes())
    for layer in layers_of(llm.decoder)[:lower]:
        for parameter in layer.parameters():
            digest.update(whole(parameter.detach()).flatten()[:32].float().cpu().numpy().tobytes())
    return digest
