"""Opens a session: with a run on disk, or with the sequence encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.presets import preset_config, with_overrides
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.encoders.base import Encoder
from core.events import Emit, ShouldStop, never, silent
from core.recommenders.base import Task
from core.recommenders.encoders import SASRecRecommender, fit_encoder, load_encoder
from core.recommenders.registry import method_class
from core.runs.store import DataRead, OpenRun, RunInfo, open_run
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
    return session_of(open_run(path, emit, precision, should_stop, data_read), emit, should_stop)


def session_of(run: OpenRun, emit: Emit = silent, should_stop: ShouldStop = never) -> Session:
    """A session with a run that is open."""
    model: Any = getattr(run.recommender, "model", None)
    encoder = model if isinstance(model, Encoder) else model.encoder
    session = Session(run.dataset, run.samples, run.recommender, encoder, run.info)
    session.watch = Watch(emit, should_stop, run.info.method, run.info.seed)
    return session


def early_session(info: RunInfo, dataset: Dataset, samples: Samples) -> Session:
    """A session with the encoder of a run whose language model is still to be loaded.

    Raises:
        ResultError: the encoder's file is missing or damaged.
    """
    task = Task(dataset, samples, info.config, info.seed, info.path)
    recommender: Any = method_class(info.config.encoder.kind)()
    recommender.model = load_encoder(info.path, task)
    return Session(dataset, samples, recommender, recommender.model, info)


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
