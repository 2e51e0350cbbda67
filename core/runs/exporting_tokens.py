"""What an export of experts has besides where each item is a token: the base model, and its prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.assets.known import embedded_model_file
from core.config.settings import ModelConfig
from core.errors import InputError
from core.events import Emit, silent
from core.ilora.gguf_base import write_base_gguf
from core.ilora.plain_base import plain_weights, save_plain
from core.lm.token_prompt import token_name
from core.lm.token_ranker import TokenRanker

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

PROMPT = "prompt.json"
BASE = "base"
"""The folder of the base model, or with `.gguf` the file."""


@dataclass(frozen=True)
class TokenBase:
    """The base model with the items' tokens, ready to be written."""

    model: AdaptedModel
    ranker: TokenRanker
    source: Path | None
    """The GGUF file to be written anew; None for a folder."""

    @property
    def name(self) -> str:
        """The file or folder, below the export's."""
        return BASE if self.source is None else f"{BASE}.gguf"

    def write(self, folder: Path, ids: Sequence[str]) -> None:
        """Writes the base and `prompt.json` into an existing folder.

        Args:
            folder: where to.
            ids: the catalogue's.
        """
        prompt = self.ranker.prompt
        weights = plain_weights(self.model, prompt, self.ranker.items)
        if self.source is None:
            (folder / self.name).mkdir()
            rows = max(prompt.first + prompt.items, self.model.llm.model.config.get_text_config().vocab_size)
            save_plain(folder / self.name, self.model, prompt, weights, rows)
        else:
            names = [token_name(item) for item in range(prompt.items)]
            config = self.model.llm.model.config
            write_base_gguf(folder / self.name, self.source, weights, config, names, prompt.first)
        said = {
            "before": prompt.before,
            "items": dict(zip(ids, prompt.lines, strict=True)),
            "first_token": prompt.first,
        }
        text = json.dumps(said, ensure_ascii=False, indent=1)
        (folder / PROMPT).write_text(f"{text}\n", encoding="utf-8")

    @property
    def lines(self) -> tuple[str, ...]:
        """What a server's owner has to know of it."""
        return (
            f"`{self.name}` is the base model with a token for each item, weights as the run computed them.",
            f"The prompt is text: `before` of `{PROMPT}`, then each item's line in `items`, oldest first. "
            "Put nothing before it, not even the start of text: it is there where the model has one.",
            'The likelihood of token `first_token` + `facts["places"][id]` as the next one is the score of '
            "an item, so that one request ranks the whole catalogue.",
        )


def token_base(model: AdaptedModel, config: ModelConfig, form: str, emit: Emit = silent) -> TokenBase | None:
    """The base to be written beside the experts; None for a run without item tokens.

    Raises:
        InputError: as GGUF it can only be written anew from a GGUF file, and the model came from none.
    """
    ranker = model.ranker
    if not isinstance(ranker, TokenRanker):
        return None
    if form != "gguf":
        return TokenBase(model, ranker, None)
    if config.is_embedded:
        return TokenBase(model, ranker, embedded_model_file(emit))
    source = Path(config.name).expanduser()
    if source.suffix != ".gguf":
        raise InputError(
            f"{config.name} with added tokens can be written as GGUF only where it came as a GGUF file",
            "leave --format out, and convert the folder base with llama.cpp's convert_hf_to_gguf.py",
        )
    return TokenBase(model, ranker, source)
