"""What a server's client needs beside adapters and gate: the prompt as token ids; for llama.cpp, code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.types import Dataset
from core.lm.listwise import ListwiseRanker
from core.lm.prompts import AnswerPrompt, TokenRun
from core.lm.token_prompt import TokenPrompt
from core.lm.token_ranker import TokenRanker
from core.runs import llama_client

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

PROMPT, CLIENT = "prompt.json", "rank.py"
MOST_CANDIDATES = 100
"""A template that says how many candidates there are is written out for up to so many."""
STARTED = """

if __name__ == "__main__":
    main(omega)
"""


def write_prompt(
    folder: Path, model: AdaptedModel, dataset: Dataset, adapters: Sequence[str], base: str
) -> None:
    """Writes `prompt.json`: how the run asks, as token ids, so that nobody else has to cut text into tokens.

    Args:
        folder: that of the adapters.
        model: ranks by the likelihood of titles, or of items that are tokens.
        dataset: whose items are asked for.
        adapters: their names, as a server is to load them.
        base: the language model's name.
    """
    catalogue, ranker = dataset.catalogue, model.ranker
    assert not isinstance(ranker, ListwiseRanker)
    vocabulary = int(model.llm.model.config.get_text_config().vocab_size)
    facts = {
        "format": 1,
        "base_model": base,
        "vocabulary": vocabulary,
        "adapters": [*adapters],
        "max_history": dataset.rules.max_history,
        "titles": dict(zip(catalogue.ids, catalogue.titles, strict=True)),
    }
    if isinstance(ranker, TokenRanker):
        facts |= _of_tokens(ranker.prompt, catalogue.ids, vocabulary)
    else:
        answer = ranker.prompt.answer
        items = {item: answer(place).tokens.tolist() for place, item in enumerate(catalogue.ids)}
        facts |= {"parts": parts_of(ranker.prompt), "items": items}
    (folder / PROMPT).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _of_tokens(prompt: TokenPrompt, ids: Sequence[str], vocabulary: int) -> dict[str, Any]:
    """A prompt that lists no candidates, whose answers are one token each; as text, too."""
    before, *lines = prompt.cut([prompt.before, *prompt.lines])
    return {
        "vocabulary": prompt.vocabulary(vocabulary),
        "parts": [before, "{history}"],
        "items": dict(zip(ids, lines, strict=True)),
        "answers": {item: [prompt.first + place] for place, item in enumerate(ids)},
        "text": {"before": prompt.before, "items": dict(zip(ids, prompt.lines, strict=True))},
    }


def write_client(folder: Path, gate: str) -> None:
    """Writes `rank.py`, which asks llama.cpp's server; `gate` is the code that defines `omega`."""
    (folder / CLIENT).write_text(f"{inspect.getsource(llama_client)}\n\n{gate}{STARTED}", encoding="utf-8")


def parts_of(prompt: AnswerPrompt) -> list[Any]:
    """The first template: lists of token ids, names of lists, and number of candidates -> token ids."""
    written = [[_plain(part) for part in prompt.parts(count)] for count in range(1, MOST_CANDIDATES + 1)]
    return [
        same[0] if all(part == same[0] for part in same) else dict(enumerate(same, start=1))
        for same in zip(*written, strict=True)
    ]


def _plain(part: TokenRun | str) -> list[int] | str:
    return part if isinstance(part, str) else part.tokens.tolist()
