"""What encoders are trained on: all that training may see or, of an old encoder, what is before a moment."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np

from core.config.moments import ENCODER_UNTIL
from core.data.temporal import old_moment
from core.recommenders.base import Task
from core.recommenders.popularity import training_sequences


def known_to_encoders(task: Task) -> tuple[list[np.ndarray], AbstractSet[int]]:
    """The sequences that encoders are trained on, and the items that they never meet.

    Raises:
        InputError: `encoder.until` is no moment within training.
    """
    samples, text = task.samples, task.config.encoder.until
    if not text or samples.moments is None:
        return training_sequences(task.dataset, samples), samples.withheld
    moment = old_moment(task.dataset, samples.moments, text, ENCODER_UNTIL)
    sequences = training_sequences(task.dataset, samples, moment)
    return sequences, frozenset(range(len(task.dataset.catalogue))).difference(
        *map(np.ndarray.tolist, sequences)
    )


def notes_on_age(task: Task) -> list[str]:
    """What a result says whose encoder was trained on a part of the time alone."""
    if not task.config.encoder.until:
        return []
    now, (old, unmet) = training_sequences(task.dataset, task.samples), known_to_encoders(task)
    share = sum(map(len, old)) / max(1, sum(map(len, now)))
    more = len(unmet - task.samples.withheld)
    return [
        f"encoders were trained on what is before {task.config.encoder.until}, {share:.0%} of the training "
        f"part; {more:,} items that came later have the mean of all vectors there"
    ]
