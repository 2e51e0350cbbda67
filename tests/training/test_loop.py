"""A run that was stopped, killed or damaged ends as one that was not; one that goes wrong says so."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import Interrupted, TrainingError
from core.events import Evaluated, Event, Notice, Saved, ShouldStop, StepLogged, Stopped, never, silent
from core.training import loop as loop_module
from core.training.job import Schedule, TrainingReport
from core.training.loop import Loop, train

N = 23
LABEL = ("toy", 0)


class Toy:
    """A small network with dropout; its data is drawn from a fixed seed, its validation is real."""

    def __init__(self, dropout: float = 0.3, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(11)
        self.x, self.y = torch.randn(N + 9, 6, dtype=dtype), torch.randn(N + 9, 1, dtype=dtype)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
        self.seen: list[tuple[int, int]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.net[0].parameters()), "rate": 1.0, "weight_decay": 0.0},
            {"params": list(self.net[3].parameters()), "rate": 0.3, "weight_decay": 0.01},
        ]

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        return sum(1 + sample % 2 for sample in samples)  # as where a sample predicts several items

    def length(self, sample: int, epoch: int) -> int:
        return sample % 5

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        self.net.train()
        self.seen += [(sample, epoch) for sample in samples]
        rows = [sample for sample in samples for _ in range(1 + sample % 2)]
        yield (self.net(self.x[rows]) - self.y[rows]).square().sum(), len(rows)

    @torch.no_grad()
    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        if should_stop():
            raise Interrupted
        self.net.eval()
        error = float((self.net(self.x[N:]) - self.y[N:]).square().mean())
        self.net.train()
        return {"MRR": -error, "n": 9.0}

    def baseline(self) -> dict[str, float] | None:
        return None

    def state(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.net.load_state_dict(state)

    def gate(self) -> list[float] | None:
        return None


class Scripted(Toy):
    """Validation says what the test wants; the weights at each validation are noted."""

    def __init__(self, values: Sequence[float], at_start: float | None = None) -> None:
        super().__init__()
        self.values, self.at_start = iter(values), at_start
        self.states: list[dict[str, Tensor]] = []

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        self.states.append({name: tensor.clone() for name, tensor in self.state().items()})
        return {"MRR": next(self.values), "n": 1.0}

    def baseline(self) -> dict[str, float] | None:
        return None if self.at_start is None else {"MRR": self.at_start, "n": 1.0}


def schedule(**changes: Any) -> Schedule:
    values: dict[str, Any] = {
        "steps": 20,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 0.02,
        "warmup_steps": 3,
        "final_rate": 0.1,
        "validate_every": 5,
        "seed": 7,
    }
    return Schedule(**{**values, **changes})


def run(
    job: Toy,
    folder: Path,
    plan: Schedule | None = None,
    emit: Callable[[Event], None] = silent,
    should_stop: ShouldStop = never,
) -> TrainingReport:
    return train(job, N, plan or schedule(), folder, LABEL, emit, should_stop)


def uninterrupted(folder: Path, plan: Schedule | None = None) -> tuple[dict[str, Tensor], TrainingReport]:
    job = Toy()
    report = run(job, folder, plan)
    return job.state(), report


def assert_identical(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def after(questions: int) -> ShouldStop:
    """Says stop when it has been asked so many times."""
    counter = itertools.count()
    return lambda: next(counter) >= questions


def to_the_end(
    folder: Path, stops: Iterator[ShouldStop], plan: Schedule | None = None
) -> tuple[Toy, Any, int]:
    """Trains in as many sessions as it takes, each in a new job, as a new process would."""
    for sessions in itertools.count(1):
        job = Toy()
        torch.manual_seed(random.randrange(1 << 30))  # whatever happened before must not matter
        try:
            return job, run(job, folder, plan, should_stop=next(stops)), sessions
        except Interrupted:
            continue
    raise AssertionError


# --- resumed = uninterrupted -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_run_stopped_at_random_ends_as_an_uninterrupted_one(tmp_path: Path, seed: int) -> None:
    expected, whole = uninterrupted(tmp_path / "whole")
    draw = random.Random(seed)
    stops = (after(draw.randint(1, 6)) for _ in itertools.count())
    job, report, sessions = to_the_end(tmp_path / "parts", stops)
    assert sessions > 3
    assert_identical(job.state(), expected)
    assert (report.steps, report.best_step, report.curve) == (whole.steps, whole.best_step, whole.curve)


def test_a_run_stopped_before_every_single_step_gets_there_too(tmp_path: Path) -> None:
    expected, _ = uninterrupted(tmp_path / "whole", schedule(steps=6, validate_every=2))
    stops = (after(1) for _ in itertools.count())
    job, _, sessions = to_the_end(tmp_path / "parts", stops, schedule(steps=6, validate_every=2))
    assert sessions >= 6
    assert_identical(job.state(), expected)


class StoppedInside(Toy):
    """Ends in the middle of a step, as a model does between two of its layers; its buffer counts samples."""

    def __init__(self, passes: int = 10**9) -> None:
        super().__init__()
        self.left = passes
        self.net.register_buffer("count", torch.zeros(()))

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        self.left -= 1
        self.net.get_buffer("count").add_(len(samples))
        torch.rand(3)  # noise that the stopped step has drawn
        if self.left < 0:
            raise Interrupted
        with super().loss(samples, epoch) as found:
            yield found


@pytest.mark.parametrize("passes", [1, 6, 7])
def test_a_step_that_was_stopped_in_its_middle_is_taken_again(tmp_path: Path, passes: int) -> None:
    whole = StoppedInside()
    report = run(whole, tmp_path / "whole")
    events: list[Event] = []
    with pytest.raises(Interrupted):
        run(StoppedInside(passes), tmp_path / "parts", emit=events.append)
    (stopped,) = [event for event in events if isinstance(event, Stopped)]
    assert (stopped.stage, stopped.step) == ("train", passes // 2)
    job = StoppedInside()
    assert run(job, tmp_path / "parts").curve == report.curve
    assert_identical(job.state(), whole.state())


def test_a_stop_during_validation_validates_again_and_changes_nothing(tmp_path: Path) -> None:
    expected, whole = uninterrupted(tmp_path / "whole")
    events: list[Event] = []
    with pytest.raises(Interrupted):  # asked before each of five steps, then inside validation
        run(Toy(), tmp_path / "parts", emit=events.append, should_stop=after(5))
    assert [event.stage for event in events if isinstance(event, Stopped)] == ["validate"]
    job = Toy()
    report = run(job, tmp_path / "parts")
    assert_identical(job.state(), expected)
    assert report.curve == whole.curve


def test_stopping_leaves_a_checkpoint_and_says_where(tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.raises(Interrupted, match="stopped at step 3"):
        run(Toy(), tmp_path, emit=events.append, should_stop=after(3))
    stopped = [event for event in events if isinstance(event, Stopped)]
    assert [(event.method, event.stage, event.step) for event in stopped] == [("toy", "train", 3)]
    saved = [event for event in events if isinstance(event, Saved)]
    assert saved
    assert Path(saved[-1].path).is_dir()
    resumed: list[Event] = []
    job = Toy()
    run(job, tmp_path, emit=resumed.append)
    assert any(isinstance(event, Notice) and "going on from step 3" in event.text for event in resumed)
    assert len(job.seen) == (20 - 3) * 4


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    expected, _ = uninterrupted(tmp_path)
    again = Toy()
    report = run(again, tmp_path)
    assert not again.seen
    assert report.steps == 20
    assert_identical(again.state(), expected)


def test_a_damaged_checkpoint_is_passed_over_with_a_notice(tmp_path: Path) -> None:
    expected, _ = uninterrupted(tmp_path / "whole")
    plan = schedule(checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        run(Toy(), tmp_path / "parts", plan, should_stop=after(9))
    newest = max((tmp_path / "parts").glob("step-*"))
    content = bytearray((newest / "weights.safetensors").read_bytes())
    content[-3] ^= 1
    (newest / "weights.safetensors").write_bytes(content)
    events: list[Event] = []
    job = Toy()
    run(job, tmp_path / "parts", plan, emit=events.append)
    warnings = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert "damaged" in warnings[0]
    assert str(newest) in warnings[0]
    assert_identical(job.state(), expected)


# --- the order of samples, and how a batch is cut ----------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, N, N + 5, 3 * N])
def test_every_sample_is_seen_once_per_epoch_none_dropped(tmp_path: Path, batch: int) -> None:
    loop = Loop(Toy(), N, schedule(batch_size=batch, micro_batch_size=1), tmp_path, LABEL, silent, never)
    epochs = 6
    steps = math.ceil(epochs * N / batch)
    pairs = [pair for step in range(steps) for pair in loop.samples_of(step)][: epochs * N]
    orders = [[sample for sample, e in pairs if e == epoch] for epoch in range(epochs)]
    for order in orders:
        assert sorted(order) == list(range(N))
    assert len({tuple(order) for order in orders}) == epochs  # shuffled anew


def test_the_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    def order(seed: int, noise: int) -> list[tuple[int, int]]:
        torch.manual_seed(noise)
        loop = Loop(Toy(), N, schedule(seed=seed), tmp_path, LABEL, silent, never)
        return [pair for step in (3, 0, 9) for pair in loop.samples_of(step)]

    assert order(1, noise=1) == order(1, noise=2)
    assert order(1, noise=1) != order(2, noise=1)


@pytest.mark.parametrize("micro", [1, 2, 3, 12])
def test_the_micro_batch_does_not_change_what_is_learnt(tmp_path: Path, micro: int) -> None:
    """Even where samples have different numbers of terms, and a batch spans two epochs."""
    found, expected = Toy(dropout=0.0, dtype=torch.float64), Toy(dropout=0.0, dtype=torch.float64)
    run(found, tmp_path / "micro", schedule(steps=8, batch_size=12, micro_batch_size=micro))
    run(expected, tmp_path / "whole", schedule(steps=8, batch_size=12, micro_batch_size=6))
    assert sorted(found.seen) == sorted(expected.seen)
    for name, tensor in expected.state().items():
        torch.testing.assert_close(found.state()[name], tensor, rtol=1e-9, atol=1e-12)


def test_out_of_memory_halves_the_micro_batch_and_learns_the_same(tmp_path: Path) -> None:
    class Cramped(Toy):
        @contextmanager
        def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
            if len(samples) > 2:
                raise torch.OutOfMemoryError("no room")
            with super().loss(samples, epoch) as found:
                yield found

    events: list[Event] = []
    cramped, roomy = Cramped(0.0, torch.float64), Toy(0.0, torch.float64)
    run(cramped, tmp_path / "a", schedule(batch_size=8, micro_batch_size=8), emit=events.append)
    run(roomy, tmp_path / "b", schedule(batch_size=8, micro_batch_size=8))
    for name, tensor in roomy.state().items():
        torch.testing.assert_close(cramped.state()[name], tensor, rtol=1e-9, atol=1e-12)
    said = [event.text for event in events if isinstance(event, Notice) and "memory" in event.text]
    assert said == ["out of memory: micro-batch is now 4", "out of memory: micro-batch is now 2"]


def test_one_sample_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    class Hopeless(Toy):
        def loss(self, samples: Sequence[int], epoch: int) -> Any:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(TrainingError, match="one sample at a time") as caught:
        run(Hopeless(), tmp_path)
    assert "--quantize nf4" in caught.value.hint


# --- half precision ----------------------------------------------------------------------------------------


class Faint(Toy):
    """A loss whose gradient, about 1e-8, is too small for fp16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "rate": 1.0, "weight_decay": 0.0}]

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        small = (self.weight.half() * 1e-4) * 1e-4
        yield small.float() * len(samples), len(samples)


class Explosive(Faint):
    """A loss whose scaled gradient overflows fp16 unless the scale is small."""

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        yield (self.weight.half() * 100).float() * len(samples), len(samples)


def test_scaling_the_loss_finds_gradients_that_fp16_would_lose(tmp_path: Path) -> None:
    lost, found = Faint(), Faint()
    run(lost, tmp_path / "lost", schedule(steps=4, validate_every=0, warmup_steps=0))
    plan = schedule(steps=4, validate_every=0, warmup_steps=0, loss_scaling=True)
    run(found, tmp_path / "found", plan)
    assert float(lost.weight.detach()) == 1.0
    assert float(found.weight.detach()) < 0.99


def test_scaling_the_loss_changes_nothing_where_it_is_not_needed(tmp_path: Path) -> None:
    """The scale is a power of two, so that not a bit is lost."""
    plain, scaled = Toy(), Toy()
    run(plain, tmp_path / "plain")
    run(scaled, tmp_path / "scaled", schedule(loss_scaling=True))
    assert_identical(scaled.state(), plain.state())


def test_a_scale_that_is_too_large_costs_a_step_and_is_halved_also_after_a_stop(tmp_path: Path) -> None:
    plan = schedule(steps=8, validate_every=0, warmup_steps=0, loss_scaling=True)
    whole, parts = Explosive(), Explosive()
    loop = Loop(whole, N, plan, tmp_path / "whole", LABEL, silent, never)
    loop.run()
    assert loop.scaler.get_scale() < 4096
    assert 0 < float(whole.weight.detach()) < 1  # it went on learning
    with pytest.raises(Interrupted):
        run(parts, tmp_path / "parts", plan, should_stop=after(3))
    again = Explosive()
    with torch.no_grad():
        again.weight.copy_(parts.weight)  # the toy's own state holds the network alone
    going_on = Loop(again, N, plan, tmp_path / "parts", LABEL, silent, never)
    going_on.run()
    assert going_on.scaler.get_scale() == loop.scaler.get_scale()
    assert torch.equal(again.weight, whole.weight)


def test_an_optimizer_of_another_kind_does_not_go_on_with_what_this_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        run(Toy(), tmp_path, should_stop=after(3))
    monkeypatch.setattr(loop_module, "make_optimizer", torch.optim.Adam)
    with pytest.raises(TrainingError, match=r"AdamW; here it is Adam") as caught:
        run(Toy(), tmp_path)
    assert "start anew" in caught.value.hint


# --- the schedule ------------------------------------------------------------------------------------------


def test_the_rate_rises_then_falls_along_a_cosine_to_its_last_share() -> None:
    plan = schedule(steps=100, warmup_steps=10, final_rate=0.1)
    rates = [plan.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0) == rates[10]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.55, abs=1e-6)
    assert rates[100] == pytest.approx(0.1)


def test_a_groups_multiple_and_the_clip_are_kept(tmp_path: Path) -> None:
    loop = Loop(Toy(), N, schedule(clip=0.01, warmup_steps=0), tmp_path, LABEL, silent, never)
    loop._step()
    assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([0.02, 0.006])
    norm = torch.stack([p.grad.norm() for p in loop.parameters if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


# --- validation chooses ------------------------------------------------------------------------------------


def test_the_weights_that_validation_liked_best_are_loaded_in_the_end(tmp_path: Path) -> None:
    job = Scripted([0.1, 0.4, 0.3, 0.4])
    report = run(job, tmp_path)
    assert report.best_step == 10  # the first of two equals
    assert_identical(job.state(), job.states[1])
    assert not torch.equal(job.states[3]["0.weight"], job.states[1]["0.weight"])
    assert [row["step"] for row in report.curve] == [5, 10, 15, 20]


def test_a_run_that_never_beats_its_start_ends_as_it_started(tmp_path: Path) -> None:
    job = Scripted([0.1, 0.2, 0.1, 0.1], at_start=0.5)
    before = {name: tensor.clone() for name, tensor in job.state().items()}
    report = run(job, tmp_path)
    assert report.best_step == 0
    assert_identical(job.state(), before)


def test_patience_ends_a_run_that_has_stopped_getting_better(tmp_path: Path) -> None:
    job = Scripted([0.1, 0.4, 0.3, 0.2, 0.9])
    report = run(job, tmp_path, schedule(steps=100, patience=2))
    assert report.steps == 20
    assert_identical(job.state(), job.states[1])


def test_patience_is_remembered_over_a_stop(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(Scripted([0.4, 0.3, 0.2]), tmp_path, schedule(steps=100, patience=3), should_stop=after(16))
    report = run(Scripted([0.1, 0.9]), tmp_path, schedule(steps=100, patience=3))
    assert report.steps == 20


def test_validation_always_closes_a_run(tmp_path: Path) -> None:
    events: list[Event] = []
    report = run(Toy(), tmp_path, schedule(steps=7, validate_every=5), emit=events.append)
    assert [row["step"] for row in report.curve] == [5, 7]
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.set, event.n) for event in evaluated] == [("validation", 9)] * 2


# --- what goes wrong is said -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_a_number_stops_before_it_harms_the_weights(tmp_path: Path, value: float) -> None:
    class Broken(Toy):
        @contextmanager
        def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
            with super().loss(samples, epoch) as (loss, count):
                yield (loss * value if len(self.seen) > 20 else loss), count

    job = Broken()
    with pytest.raises(TrainingError, match="not a number at step 6") as caught:
        run(job, tmp_path)
    assert caught.value.hint
    assert all(bool(torch.isfinite(tensor).all()) for tensor in job.state().values())
    for file in tmp_path.rglob("weights.safetensors"):
        assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(file).values())


def test_a_gradient_that_is_not_a_number_stops_too(tmp_path: Path) -> None:
    class Broken(Toy):
        @contextmanager
        def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
            with super().loss(samples, epoch) as (loss, count):
                at_zero = (self.net[0].weight * 0).sum()
                yield loss + at_zero.abs().sqrt(), count  # finite, with an infinite slope

    with pytest.raises(TrainingError, match="gradient is not a number at step 1"):
        run(Broken(), tmp_path)


def test_validation_that_is_not_a_number_stops_too(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="validation MRR is not a number"):
        run(Scripted([math.nan]), tmp_path)


def test_progress_is_told_with_loss_rate_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "LOG_SECONDS", 0.0)
    events: list[Event] = []
    run(Toy(), tmp_path, emit=events.append)
    logged = [event for event in events if isinstance(event, StepLogged)]
    assert [event.step for event in logged] == list(range(1, 21))
    for event in logged:
        assert event.total == 20
        assert event.loss is not None
        assert math.isfinite(event.loss)
        assert event.samples_per_second is not None
        assert event.samples_per_second > 0
        assert event.seconds_left is not None
        assert event.seconds_left >= 0
    assert logged[-1].seconds_left == 0


def test_an_untrained_budget_of_zero_steps_is_a_run_too(tmp_path: Path) -> None:
    job = Toy()
    before = {name: tensor.clone() for name, tensor in job.state().items()}
    assert run(job, tmp_path, schedule(steps=0)).steps == 0
    assert_identical(job.state(), before)
