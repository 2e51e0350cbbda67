"""Opens a session: with a run on disk, or with the sequence encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.presets import preset_config, with_overrides
from core.data.loading import load_task_data
from core.encoders.base import Encoder
from core.events import Emit, ShouldStop, never, silent
from core.recommenders.base import Task
from core.recommenders.encoders import SASRecRecommender, fit_encoder
from core.runs.store import DataRead, open_run
from core.serving.session import Session
from core.stages import Watch


def open_session(
    path: Path,
    emit: Emit = silent,
    precision: str = "auto",
    should_stop: ShouldStop = never,
    data_read: DataRead | None = None,
) -> Session:
    """A run on disk, ready to answer in this precision.

    Raises:
        ResultError, AssetError, DataError, ModelError, Interrupted: what `open_run` raises.
    """
    run = open_run(path, emit, precision, should_stop, data_read)
    model: Any = getattr(run.recommender, "model", None)
    encoder = model if isinstance(model, Encoder) else model.encoder
    session = Session(run.dataset, run.samples, run.recommender, encoder, run.info)
    session.watch = Watch(emit, should_stop, run.info.method, run.info.seed)
    return session


def encoder_session(
    dataset: str, out: Path, emit: Emit = silent, should_stop: ShouldStop = never, seed: int = 0
) -> Session:
    """A session without any trained run: the sequence encoder ranks, trained now where it is not on disk."""
    config = with_overrides(preset_config("quick"), data={"dataset": dataset})
    data, samples = load_task_data(config.data, emit)
    task = Task(data, samples, config, seed, out, emit, should_stop)
    encoder, _ = fit_encoder(task)
    recommender = SASRecRecommender()
    recommender.model = encoder
    return Session(data, samples, recommender, encoder)
