"""What one run is called: the name of its result file, its run folder and whatever else belongs to it."""

from __future__ import annotations

from typing import NamedTuple


class RunKey(NamedTuple):
    """What tells one finished run from all others."""

    dataset: str
    split: str
    method: str
    seed: int
    config_sha256: str

    @property
    def name(self) -> str:
        """Its name on disk, without a suffix."""
        return f"{self.dataset}.{self.split}.{self.method}.seed{self.seed}.{self.config_sha256[:8]}"
