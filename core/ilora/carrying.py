"""An adapter carried over to another dataset: factors and head go on, what reads an encoder begins anew."""

from __future__ import annotations

from pathlib import Path

from core.ilora.model import AdaptedModel, read_saved

READERS = ("gate.", ".projector.")
"""Parts of the names of weights that read an encoder's vectors: another encoder's mean nothing to them."""


def carry_over(model: AdaptedModel, folder: Path) -> None:
    """Lets a model start from the low-rank factors and the head of a trained run.

    Gate and projectors stay as they are, for they read vectors of the encoder they were trained with.

    Args:
        model: untrained, of any dataset.
        folder: a run folder of the same method, language model, rank, layers and number of experts.

    Raises:
        ModelError: the folder is damaged, or its adapter is another one.
    """
    taken = {
        name: tensor
        for name, tensor in read_saved(model, folder).items()
        if not any(part in f"{name}." for part in READERS)
    }
    model.load_state({**model.state(), **taken})
