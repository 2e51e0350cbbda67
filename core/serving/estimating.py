"""What a benchmark will cost on this machine, worked out before anything is run or fetched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from core.assets import cache
from core.config.bounds import SEEDS
from core.config.checks import check
from core.config.settings import DataConfig, RunConfig
from core.data.card_files import load_card
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.methods import any_needs_llm, check_method
from core.serving.protocol import Estimate, Estimated


@lru_cache(maxsize=4)
def _task_data(config: DataConfig) -> tuple[Dataset, Samples]:
    """A dataset and its cases, kept between two looks at a form that changes."""
    return load_task_data(config)


def estimate(request: Estimate, precision: str = "auto") -> Estimated:
    """Time and memory of a benchmark on this machine in this precision, before anything is run.

    Raises:
        InputError: preset, dataset or a method is unknown.
        AssetError, DataError: the dataset cannot be read; it is never fetched for an estimate.
    """
    check(bool(request.methods), "no methods are chosen", "choose at least one")
    here = cache.find(load_card(request.dataset).asset) is not None
    check(here, f"{request.dataset} is not on this machine", "F shows what it is before it is fetched")
    SEEDS.check(request.seeds)
    for method in request.methods:
        check_method(method)
    from core import hardware
    from core.benchmark import choosing, estimates  # torch is imported here: what is wrong is said before
    from core.config.presets import preset_config, with_overrides
    from core.lm.loading import settle_precision

    jobs = [(method, seed) for method in request.methods for seed in range(request.seeds)]

    def configs(name: str) -> list[RunConfig]:
        config = with_overrides(
            preset_config(name),
            data={"dataset": request.dataset},
            model={"name": request.model, "precision": precision},
            training={} if request.samples is None else {"samples": request.samples},
        )
        return [config]

    chosen = (
        choosing.choose(configs, jobs, load=lambda data, _: _task_data(data))
        if request.preset == "auto"
        else None
    )
    preset = chosen.preset if chosen else request.preset
    (config,) = configs(preset)
    dataset, samples = _task_data(config.data)
    memory, basis = _memory(config, request.methods, Path(request.out))
    return Estimated(
        request=request.request,
        preset=preset,
        minutes=estimates.minutes(config, jobs, dataset, samples),
        memory_bytes=memory,
        memory_basis=basis,
        hardware=f"{hardware.describe()}, {settle_precision(config.model).precision}",
        cases={name: len(cases) for name, cases in samples.test.items()},
        why=chosen.why if chosen else "",
    )


WORKSPACE = 1_500_000_000
"""Bytes that libraries, activations and gradients take beside the weights of the embedded model."""


def _memory(config: RunConfig, methods: Sequence[str], out: Path) -> tuple[int, str]:
    """Peak memory of the hungriest method: as measured in earlier runs of the same model, else estimated."""
    from core.assets.cache import find
    from core.assets.known import EMBEDDED_MODEL
    from core.assets.spec import home
    from core.lm.loading import estimate_bytes
    from core.results.store import load_results

    measured = [
        result.peak_memory_bytes
        for result in load_results(out)[0]
        if result.model == config.model.name and result.method in methods
    ]
    if measured:
        return max(measured), "measured in earlier runs"
    if not any_needs_llm(methods):
        return WORKSPACE // 2, "estimated; no language model"
    name = config.model.name
    folder = home() / "models" / f"{name}-safetensors" if config.model.is_embedded else Path(name)
    weights = estimate_bytes(folder, config.model)
    if weights is None and config.model.is_embedded and find(EMBEDDED_MODEL.asset):
        weights = EMBEDDED_MODEL.size
    if weights is None:
        return 0, "unknown until the model is fetched"
    return weights + WORKSPACE, "estimated from the weights"
