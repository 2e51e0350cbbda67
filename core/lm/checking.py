"""Whether this program reads a language model rightly: one short made-up case, compared with its own answers.

Packed rows and split decoders rest on what a family's code does with masks, positions and embeddings. So that
no family has to be known, a model is asked about a made-up case in both ways before it is used: by its own
forward, one candidate at a time, and as this program reads. It is read as would be quickest, or more plainly
where only that gives the model's own answers, or not at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from core.assets.spec import home
from core.config.checks import sha256_of
from core.config.settings import ModelConfig
from core.errors import DataError, ModelError
from core.events import Notice
from core.files import atomic_path, sha256_of_file
from core.hardware import release_memory, versions
from core.lm.decoder import decoder_view, run_decoder
from core.lm.folder import in_own_words, weight_files
from core.lm.loading import LanguageModel, Reading, check_model, load_llm, pick_device, quiet
from core.lm.precision import pick_dtype
from core.lm.prompts import SLOT, Packed, TokenRun, beginning, encode, pack
from core.lm.structure import KINDS_HINT, has_unknown_window, layers_of, obstacle, window_of
from core.lm.views import run_view
from core.records import build, json_of, read_text
from core.stages import UNWATCHED, Watch
from core.training import parallel

VERSION = 2
"""Of the comparison: answers of another one are not taken over."""
PREFIX, BRANCHES = 9, (4, 2)
"""Tokens of the made-up case: more than a window of `WINDOW` positions."""
WINDOW = 4
NOISE = 3.0
"""Times what the model's own answers move by when the last bit of what it reads does: rounding, no fault."""
CEILING = 0.2
"""A difference that is never taken for rounding; see `Case.off`."""


@dataclass(frozen=True)
class Case:
    """A made-up prompt with two candidates, and what the model itself makes of it."""

    llm: LanguageModel

    @cached_property
    def rows(self) -> list[list[int]]:
        """The prompt, then the tokens of each candidate."""
        vocabulary = self.llm.model.get_input_embeddings().get_parameter("weight").shape[0]
        count = PREFIX + sum(BRANCHES)
        drawn = np.random.default_rng(0).integers(vocabulary // 8, vocabulary, count).tolist()
        start = beginning(self.llm.tokenizer) if self.llm.tokenizer else []
        cuts = np.cumsum([PREFIX, *BRANCHES])[:-1]
        first, *rest = (part.tolist() for part in np.split(np.array(drawn), cuts))
        return [[*start, *first], *rest]

    @cached_property
    def packed(self) -> Packed:
        """The case as one row."""
        prefix, *branches = (TokenRun(np.array(row, dtype=np.int64)) for row in self.rows)
        return pack([[prefix]], [branches])

    @cached_property
    def device(self) -> torch.device:
        """Where the model is, which may be elsewhere than it will be."""
        return self.llm.model.get_input_embeddings().get_parameter("weight").device

    @cached_property
    def own(self) -> Tensor:
        """(tokens, vocabulary) log-likelihoods at the prompt's end and at each candidate's tokens."""
        prefix, *branches = self.rows
        return self._likelihoods([self._ask([*prefix, *branch]) for branch in branches])

    @cached_property
    def noise(self) -> float:
        """How far the model's answers to embeddings move when every number in these moves by its last bit.

        Not how far they are from its answers to tokens, of which it may read more than their embeddings.
        """
        prefix, *branches = self.rows
        still, moved = (
            self._likelihoods([self._ask_of_states([*prefix, *branch], jitter) for branch in branches])
            for jitter in (False, True)
        )
        return spread(moved - still, self.own)

    def _ask(self, row: list[int]) -> Tensor:
        ids = torch.tensor([row], device=self.device)
        logits: Tensor = self.llm.model(input_ids=ids, use_cache=False).logits[0]
        return logits

    def _ask_of_states(self, row: list[int], jitter: bool) -> Tensor:
        read = self.llm.model.get_input_embeddings()(torch.tensor([row], device=self.device))
        up = torch.arange(read.numel(), device=self.device).view(read.shape) % 3 == 0
        moved = torch.where(up, read * (1 + torch.finfo(read.dtype).eps), read)
        logits: Tensor = self.llm.model(
            inputs_embeds=moved if jitter else read.clone(), use_cache=False
        ).logits[0]
        return logits

    def _likelihoods(self, logits: list[Tensor]) -> Tensor:
        prefix, *branches = self.rows
        start = len(prefix) - 1
        parts = [own[start : start + 1 + len(row)] for own, row in zip(logits, branches, strict=True)]
        return torch.log_softmax(torch.cat(parts).float(), dim=-1)

    def read(self, reading: Reading, cut: int) -> Tensor:
        """The same log-likelihoods as this program finds them, its lower part ending at layer `cut`."""
        llm, packed = self.llm, self.packed
        hidden = llm.model.get_input_embeddings()(torch.from_numpy(packed.tokens).to(self.device))
        if cut:
            lower = decoder_view(llm.decoder, 0, cut, norm=False, packed=reading.packed)
            hidden = run_decoder(lower, hidden, packed)
        upper = decoder_view(llm.decoder, cut, llm.depth, norm=True, packed=reading.packed)
        logits = llm.logits(run_decoder(upper, hidden, packed)[0])
        prefix_end = [len(self.rows[0]) - 1]
        places = [
            place
            for number in range(1, len(BRANCHES) + 1)
            for place in prefix_end + np.flatnonzero(packed.branch[0] == number).tolist()
        ]
        return torch.log_softmax(logits[places].float(), dim=-1)

    def off(self, found: Tensor) -> float:
        """The largest difference of a token's log-likelihoods, over how much they vary in the vocabulary."""
        return spread(found - self.own, self.own)


def spread(off: Tensor, own: Tensor) -> float:
    """The largest of some tokens' differences, (tokens, vocabulary), over how much their values vary."""
    return float((off.square().mean(-1).sqrt() / own.std(-1)).nan_to_num(nan=torch.inf).max())


def load_checked(config: ModelConfig, watch: Watch = UNWATCHED) -> LanguageModel:
    """A loaded language model that is known to be read rightly; compared once, the answer is kept.

    Raises:
        ModelError: it cannot be loaded, is of a kind that cannot be adapted, or is not read rightly.
    """
    folder = check_model(config, watch)
    store = _store(folder, config)
    known = _kept(store)
    if known is None:
        check_kind(folder, config)
    llm = load_llm(config, watch)
    check_tokenizer(llm)
    if known is None:
        check_finite(folder, config.name)
        known = find_reading(llm)
        with contextlib.suppress(OSError), atomic_path(store) as temporary:  # it is only compared again
            temporary.write_text(json.dumps(asdict(known)), encoding="utf-8")
    if not known.packed:
        text = f"{llm.name} is read one candidate at a time, for its attention takes no packed rows"
        watch.emit(Notice(text))
    return replace(llm, reading=known)


def try_model(config: ModelConfig, watch: Watch = UNWATCHED) -> None:
    """Refuses a model that cannot be used, before anything is trained; loads it where it is not known yet.

    The embedded model is known, and one that the processes are to share is compared when they load it.

    Raises:
        ModelError: as `load_checked`.
    """
    folder = check_model(config, watch)
    if config.is_embedded or _kept(_store(folder, config)) is not None:
        return
    if parallel.is_sharded():
        check_kind(folder, config)
        return
    watch.emit(Notice(f"comparing this program's scores with those of {config.name} itself, once"))
    load_checked(config, watch)
    release_memory()


def check_kind(folder: Path, config: ModelConfig) -> None:
    """Refuses a model that cannot be adapted, from its settings alone.

    Raises:
        ModelError: it is no causal language model, or has layers that cannot be read or adapted.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with in_own_words(f"cannot load the model {config.name}", "give a causal language model"):
        with quiet(), torch.device("meta"):
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            model = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
        found = obstacle(model)
    if found:
        raise ModelError(f"{config.name} ({settings.model_type}) has {found}", KINDS_HINT)


def check_finite(folder: Path, name: str) -> None:
    """Refuses weights with numbers that are not finite: scores that meet them would be no numbers.

    Raises:
        ModelError: names the tensor.
    """
    for file in weight_files(folder):
        with safe_open(file, "pt") as opened:
            for tensor in opened.keys():  # noqa: SIM118 - it is no mapping
                found = opened.get_tensor(tensor)
                if found.is_floating_point() and not torch.isfinite(found.float()).all():
                    raise ModelError(
                        f"{name}: {tensor[:100]} in {file.name} holds numbers that are not finite",
                        "the file is damaged: get the model anew",
                    )


def check_tokenizer(llm: LanguageModel) -> None:
    """Refuses a tokenizer without a token for a line's end, which ends titles and answers.

    Raises:
        ModelError: it has none.
    """
    with in_own_words(f"the tokenizer of {llm.name} cannot be used", "get the model anew"):
        tokens = encode(llm.tokenizer, SLOT)
        keeps = bool(tokens) and SLOT in str(llm.tokenizer.decode(tokens[-1:]))
    if not keeps:
        raise ModelError(
            f"the tokenizer of {llm.name} has no token for a line's end",
            "give a model whose tokenizer keeps line breaks, such as a byte-level one",
        )


def _store(folder: Path, config: ModelConfig) -> Path:
    """Where the answer for a model as it lies there, loaded in this way by these libraries, is kept."""
    device = pick_device(config.quantize)
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weight_files(folder)]
    dtype = str(pick_dtype(device, config.precision))
    own = sha256_of_file(folder / "config.json")
    key = sha256_of([VERSION, own, files, config.quantize, dtype, device.type, versions()])
    return home() / "readings" / f"{key[:16]}.json"


def _kept(store: Path) -> Reading | None:
    """The answer in the store; None where there is none that can be read."""
    try:
        return build(Reading, json_of(read_text(store), store.name))
    except DataError:
        return None


@torch.no_grad()
def find_reading(llm: LanguageModel) -> Reading:
    """The quickest way of reading that gives the model's own answers.

    Raises:
        ModelError: none does.
    """
    with _short_window(llm):
        case = Case(llm)
        with in_own_words(f"{llm.name} does not answer a short made-up case", KINDS_HINT):
            unused = _unused(case)
            _ = case.noise
        if unused:
            raise ModelError(
                f"{llm.name} has layers that its own answers do not use, such as {unused[0]}", KINDS_HINT
            )
        allowed = min(max(rounding(llm), NOISE * case.noise), CEILING)
        packed = not has_unknown_window(llm.decoder.config)
        ways = [
            Reading(split, together) for together in (True, False)[not packed :] for split in (True, False)
        ]
        said = ""
        for way in ways:
            wrong = _fault(case, way, allowed)
            if not wrong:
                return way
            said = wrong  # of the plainest way, which is tried last
    raise ModelError(
        f"{llm.name} ({type(llm.model).__name__}) is not read rightly by this program: {said}", KINDS_HINT
    )


def _unused(case: Case) -> list[str]:
    """Linear layers that the model's own answers go past, such as those that look at an encoder's states."""
    linear = {
        part: f"{place}.{name}"
        for place, layer in enumerate(layers_of(case.llm.decoder))
        for name, part in layer.named_modules()
        if isinstance(part, nn.Linear | Conv1D)
    }
    used: set[nn.Module] = set()
    hooks = [part.register_forward_pre_hook(lambda part, _: used.add(part)) for part in linear]
    try:
        _ = case.own
    finally:
        for hook in hooks:
            hook.remove()
    return [name for part, name in linear.items() if part not in used]


def rounding(llm: LanguageModel) -> float:
    """What rounding may come to in any model of this precision, relative to what is computed."""
    return max(1e-3, 8 * torch.finfo(llm.dtype).eps)


def _fault(case: Case, way: Reading, allowed: float) -> str:
    """What is wrong with a way of reading, in words; empty where nothing is."""
    depth = case.llm.depth
    cuts = sorted({depth // 2, depth - 1} - {0}) if way.split else [0]
    try:
        if way.split and not (cuts and sees_places(case)):
            return "its upper layers alone do not know the order of what they read"
        offs = [case.off(case.read(way, cut)) for cut in cuts]
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        return f"{type(error).__name__} in its own code"  # a way that cannot be gone is no way
    if max(offs) > allowed:
        return f"the likelihoods of a short made-up case are off by {100 * max(offs):.0f} % of their spread"
    return ""


def sees_places(case: Case) -> bool:
    """Whether any layer, by itself, tells the order of the tokens before: by positions turned or weighed.

    Where places are added to the embeddings alone, titles read by themselves would lose their order.
    """
    llm = case.llm
    ids = torch.tensor([case.rows[0]], device=case.device)
    hidden = llm.model.get_input_embeddings()(ids)
    order = [0, *range(ids.shape[1] - 2, 0, -1), ids.shape[1] - 1]  # all but the ends turned round
    for layer in range(1, llm.depth):
        view = decoder_view(llm.decoder, layer, layer + 1, norm=False)
        last, turned = (run_view(view, states)[0, -1].float() for states in (hidden, hidden[:, order]))
        change = (last - turned).norm() / (last - hidden[0, -1].float()).norm()
        if float(change) > rounding(llm):
            return True
    return False


@contextmanager
def _short_window(llm: LanguageModel) -> Iterator[None]:
    """Lets a sliding window, where there is one, end within the made-up case, for both sides alike."""
    config = llm.decoder.config
    window = window_of(config)
    if window is None:
        yield
        return
    vars(config)["sliding_window"] = WINDOW
    try:
        yield
    finally:
        vars(config)["sliding_window"] = window
