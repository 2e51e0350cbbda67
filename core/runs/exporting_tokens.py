"""What an export of experts has besides where each item is a token: the base model, and its prompts."""

from __future__ import annotations

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
from core.runs.prompt_files import PROMPT

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

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

    def write(self, folder: Path) -> None:
        """Writes the base into an existing folder."""
        prompt = self.ranker.prompt
        weights = plain_weights(self.model, prompt, self.ranker.items)
        if self.source is None:
            (folder / self.name).mkdir()
            own = int(self.model.llm.model.config.get_text_config().vocab_size)
            save_plain(folder / self.name, self.model, prompt, weights, prompt.vocabulary(own))
        else:
            names = [token_name(item) for item in range(prompt.items)]
            config = self.model.llm.model.config
            write_base_gguf(folder / self.name, self.source, weights, config, names, prompt.first)

    @property
    def lines(self) -> tuple[str, ...]:
        """What a server's owner has to know of it."""
        return (
            f"`{self.name}` is the base model with a token for each item, weights as the run computed them.",
            f"`{PROMPT}` has the prompt as text and as token ids: its beginning, then a line for each item, "
            "oldest first. Put nothing before it, not even a start of text: it has one where the model does. "
            "The likelihood of an item's token, in `answers`, as the next one is its score.",
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
