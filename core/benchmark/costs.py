"""The model of costs: how long each stage of a method takes, from what was timed on the machine in hand.

Nothing is timed here (`core.benchmark.measuring` does that), so that recorded timings can be held against
recorded runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.config.settings import TUNING_GRID, RunConfig
from core.data.samples import CANDIDATES, last_positions, longest_history
from core.data.types import Samples
from core.method import COUNTING, PROMPTED
from core.methods import METHODS, MethodSeed, settle
from core.recommenders.adapter import LONGEST_ROW
from core.recommenders.distilled import COMPARED
from core.recommenders.encoders import passes
from core.recommenders.zero_shot import ZeroShot

PEAK_EPOCH = 22
"""The epoch that validation chose of MovieLens' SASRec, on a processor of each kind: most train no longer."""
SHARED_TITLES = 4
"""What the words before and after a history are worth, in titles."""
CHAT_CASE = 1.0
"""Seconds; a guess: that server is somebody else's."""
TAUGHT = 0.15
"""Seconds until a teacher has scored a history's candidates; a guess, for the teacher is not loaded yet."""


@dataclass(frozen=True)
class Measured:
    """What one unit of work takes here, in seconds, for one model, precision, quantization and dataset."""

    items: int = 0
    """Titles in the catalogue."""
    load: float = 0.0
    """The language model."""
    title: float = 0.0
    """A title's states through the frozen lower layers."""
    vector: float = 0.0
    """A title's vector for MoRec."""
    train: Mapping[str, float] = field(default_factory=dict)
    """A training sample, forward and backward, by `TrainingConfig.asks`."""
    rank: Mapping[str, float] = field(default_factory=dict)
    """A ranked case, by the same; zero-shot: by the model as it comes."""
    answer: Mapping[str, float] = field(default_factory=dict)
    """A written answer, by the keys of `rank`."""
    step: Mapping[str, float] = field(default_factory=dict)
    """An optimizer step of an encoder, by its kind."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a method's work."""

    name: str
    """load, read, train, validate, test: the stage of the events that come meanwhile."""
    method: str
    """The method that those events carry: the encoder's, where an adapter waits for it."""
    seconds: float
    units: float = 0.0
    """Steps or cases that it counts; 0 if it counts none."""
    pace: str = ""
    """Stages of equal pace are right or wrong together."""
    shared: str = ""
    """What it makes, where the next method that needs it finds it made."""


def cost(
    measured: Measured,
    config: RunConfig,
    method: str,
    samples: Samples,
    seed: int = 0,
    longest: bool = False,
) -> list[Stage]:
    """The stages of one (method, seed), in their order.

    Args:
        measured: what was timed for these settings.
        config: the run's.
        method: one of `core.methods.METHODS`.
        samples: the cases.
        seed: of the training.
        longest: whether an encoder trains all epochs that it may; else as many as it is likely to.
    """
    record = METHODS[method]
    if record.kind == COUNTING:
        return []
    config = settle(config, method)
    cases = test_cases(samples)
    if record.is_remote:
        return [Stage("test", method, cases * CHAT_CASE, cases, "chat")]
    stages = [Stage("load", method, measured.load, pace="load")] if record.needs_llm else []
    if record.is_encoder and record.needs_llm:
        reading = measured.items * measured.vector
        stages.append(Stage("read", method, reading, measured.items, "read", "vectors"))
    if record.is_student:
        return _student(measured, config, method, record.network, samples)
    if record.is_encoder:
        return [*stages, _encoder(measured, config, method, samples, seed, longest)]
    key = "zero-shot" if record.kind == PROMPTED else config.training.asks
    writes = config.answering.protocol != "rank"
    asked = (measured.answer if writes else measured.rank)[key] * cases
    if config.data.whole and key != "item-tokens":  # as many candidates as the encoder passes on, or all
        passed = config.data.retrieve or measured.items
        asked *= _read(passed, key, samples) / _read(CANDIDATES, key, samples)
    test = Stage("test", method, asked, cases, f"{'answer' if writes else 'rank'} {key}")
    if record.kind == PROMPTED:
        if writes:
            return [*stages, test]
        tried = min(ZeroShot.VALIDATION_CASES, len(samples.validation))
        choice = Stage("validate", method, measured.rank[key] * tried, tried, f"rank {key}")
        return [*stages, choice, test]
    if record.is_control:
        opened = f"open {record.control_of} {seed}"
        return [Stage("load", method, measured.load, pace="load", shared=opened), test]
    first = _encoder(measured, config, config.encoder.kind, samples, seed, longest)
    if key == "listwise" and measured.title:
        reading = measured.items * measured.title
        stages.append(Stage("read", method, reading, measured.items, "read", "states"))
    training = config.training
    steps = -(-training.samples // training.batch_size)
    validated = training.validations * min(training.validation_cases, len(samples.validation))
    return [
        first,
        *stages,
        Stage("train", method, training.samples * measured.train[key], steps, f"train {key}"),
        Stage("validate", method, validated * measured.rank[key], validated, f"rank {key}"),
        test,
    ]


def _read(candidates: int, key: str, samples: Samples) -> float:
    """Titles read for a case of so many candidates; what its rows share counts as some titles each."""
    if key != "listwise":
        return candidates
    rows = -(-candidates // LONGEST_ROW)
    return candidates + rows * (longest_history(samples.train) + SHARED_TITLES)


def _encoder(
    measured: Measured, config: RunConfig, kind: str, samples: Samples, seed: int, longest: bool
) -> Stage:
    """The training of an encoder, whichever method comes first to it."""
    most = encoder_steps(config, samples)
    epoch = encoder_epoch(config, samples)
    likely = most if longest else min(most, epoch * (PEAK_EPOCH + 2 * config.encoder.patience))
    steps = likely * (len(TUNING_GRID) if config.encoder.tune else 1)
    return Stage("train", kind, steps * measured.step[kind], steps, f"train {kind}", f"{kind} {seed}")


def _student(
    measured: Measured, config: RunConfig, method: str, network: str, samples: Samples
) -> list[Stage]:
    """A teacher's scores of histories, the training that learns them, and both asked the same cases."""
    histories, encoder = config.distillation.histories, config.encoder
    asked = histories + min(config.training.validation_cases, len(samples.validation))
    steps = -(-histories // encoder.batch_size) * min(encoder.epochs, PEAK_EPOCH + encoder.patience)
    alike = min(COMPARED, len(samples.asked))
    return [
        Stage("teach", method, asked * TAUGHT, asked, "teach"),
        Stage("train", method, steps * measured.step[network], steps, f"train {method}"),
        Stage("compare", method, alike * TAUGHT, alike, "teach"),
    ]


def encoder_epoch(config: RunConfig, samples: Samples) -> int:
    """Optimizer steps of an encoder's epoch; see `EncoderJob` for the pieces."""
    encoder = config.encoder
    span = longest_history(samples.train)
    pieces = sum(-(-last // span) + 1 for last in last_positions(samples.train).values())
    return max(1, round(-(-pieces // encoder.batch_size) * passes(samples)))


def encoder_steps(config: RunConfig, samples: Samples) -> int:
    """Optimizer steps of an encoder's longest training."""
    steps = encoder_epoch(config, samples) * config.encoder.epochs
    return min(steps, config.encoder.steps or steps)


def test_cases(samples: Samples) -> int:
    """Test cases, each once for each kind of candidates."""
    return len(samples.questions)


def seconds(
    measured: Measured, config: RunConfig, method: str, samples: Samples, longest: bool = False
) -> float:
    """Seconds of one run of a method that finds nothing made."""
    return sum(stage.seconds for stage in cost(measured, config, method, samples, longest=longest))


def plan_stages(
    measured: Measured,
    config: RunConfig,
    runs: Sequence[MethodSeed],
    samples: Samples,
    longest: bool = False,
) -> list[list[Stage]]:
    """The stages of each (method, seed); what one of them makes for all is a stage of the first alone."""
    made: set[str] = set()
    found = []
    for method, seed in runs:
        stages = cost(measured, config, method, samples, seed, longest)
        found.append([stage for stage in stages if not stage.shared or stage.shared not in made])
        made |= {stage.shared for stage in stages}
    return found


def total(stages: Iterable[Iterable[Stage]]) -> float:
    """Seconds of all stages."""
    return sum(stage.seconds for of_run in stages for stage in of_run)


def untrained(of_run: Iterable[Stage]) -> list[Stage]:
    """The stages of a run whose model is there already."""
    return [stage for stage in of_run if stage.name not in ("train", "validate")]
