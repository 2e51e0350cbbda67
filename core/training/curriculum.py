"""Draws that training makes for its prompts: which batches see item vectors, and which template asks.

Every draw is a function of the seed and of what it is for, not of what was drawn before: the same in every
process, across epochs, and after a run was stopped and goes on.
"""

from __future__ import annotations

import hashlib
import json


def hybrid_chance(step: int, steps: int) -> float:
    """The probability that a step's batch is hybrid: it rises to 1 over all of training (LLaRA §3.3).

    Args:
        step: 0-based optimizer step, counted over all epochs.
        steps: of the whole training.
    """
    return (step + 1) / steps


def is_hybrid(seed: int, step: int, steps: int) -> bool:
    """Whether the batch of a step is hybrid under a training seed."""
    return _uniform("curriculum", seed, step) < hybrid_chance(step, steps)


def pick_template(seed: int, sample: int, epoch: int, templates: int) -> int:
    """Which of the templates asks for a sample in an epoch, each equally likely."""
    return int(_uniform("template", seed, sample, epoch) * templates)


def _uniform(*key: str | int) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.sha256(json.dumps(key).encode("ascii")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
