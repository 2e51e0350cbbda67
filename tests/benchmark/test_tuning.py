"""`--tune N` tries the same number of settings for every method, on validation, and goes on where it was."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")
from optuna.trial import TrialState

from core.benchmark.run import Plan, run_benchmark
from core.benchmark.spaces import space_of, value_at, with_values
from core.benchmark.studies import asked_of, finished_of, kept_of, open_study
from core.benchmark.tuning import _Follower
from core.config.settings import RunConfig
from core.errors import InputError, Interrupted, ResultError, TrainingError
from core.events import Evaluated, Event, Notice, PlanMade, SettingTried, StepLogged, silent
from core.methods import METHODS
from core.results.format import Result
from core.results.merging import merge
from core.results.store import save_result
from core.results.trials import ENDED, FAILED, PRUNED, Search, Trial, load_search, load_searches, save_search
from core.training.job import Pruned
from ilora_app.cli.trials import with_number_of_trials
from ilora_app.render.tensorboard import TensorBoard
from tests import tiny
from tests.commands import run
from tests.made_up import result as made_up_result

pytestmark = pytest.mark.usefixtures("tiny_home")


def settings(model: Path | str = "tiny-llama", **training: Any) -> RunConfig:
    config = tiny.config(model, samples=8, validations=2, **training)
    return dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, epochs=4))


def bench(
    out: Path, trials: int, *methods: str, config: RunConfig | None = None, **more: Any
) -> tuple[list[Result], list[Event]]:
    seen: list[Event] = []
    emit: Callable[[Event], None] = more.pop("emit", None) or seen.append
    plan = Plan(config or settings(), methods, (0,), out, "quick", "ilora-app bench", trials=trials)
    return run_benchmark(plan, emit, **more), seen


def searches(out: Path) -> dict[str, Search]:
    found, problems = load_searches([out])
    assert not problems
    return {search.method: search for search in found}


def essence(search: Search) -> list[Trial]:
    """The trials but for the time that they took."""
    return [dataclasses.replace(trial, seconds=0.0) for trial in search.trials]


def trained(seen: list[Event], method: str) -> int:
    return sum(isinstance(event, StepLogged) and event.method == method for event in seen)


@pytest.mark.parametrize("encoders", [("caser", "sasrec"), ("sasrec", "caser")], ids="-".join)
def test_every_method_that_trains_gets_as_many_trials_and_validation_chooses(
    tmp_path: Path, encoders: tuple[str, str]
) -> None:
    results, seen = bench(tmp_path, 3, "popularity", *encoders)
    found = searches(tmp_path)
    assert {name: len(search.trials) for name, search in found.items()} == {"caser": 3, "sasrec": 3}
    for result in results:
        if result.method == "popularity":
            assert "nothing in it is trained" in result.notes[0]
            continue
        search = found[result.method]
        own = {one.path: value_at(settings(), one.path) for one in space_of(result.method, settings())}
        assert search.trials[0].settings == own
        assert search.best is not None
        best = search.trials[search.best]
        assert best.mrr == max(trial.mrr or 0 for trial in search.trials if trial.state == ENDED)
        for place, value in best.settings.items():
            assert result.config["encoder"][place.partition(".")[2]] == value
        assert any(f"trial {search.best + 1} of 3" in note for note in result.notes)
        assert max(point["MRR"] for point in result.history) == best.mrr
    plans = [event for event in seen if isinstance(event, PlanMade)]
    tried = [event for event in seen if isinstance(event, SettingTried)]
    assert len(plans) == 2 and seen.index(plans[0]) < seen.index(tried[0])
    chosen = found["sasrec"].trials[found["sasrec"].best or 0].settings
    assert plans[1].tuned["sasrec"]["encoder"]["dropout"] == chosen["encoder.dropout"]
    board = TensorBoard(tmp_path / "board")
    board(plans[1])
    assert [board._name((result.method, 0)) for result in results] == [one.key.name for one in results]
    said = [event.text for event in seen if isinstance(event, Notice)]
    assert any("3 trials each" in text and "min on this machine" in text for text in said)
    assert sum("trial 2 of 3" in text for text in said) == 2


def test_a_stopped_search_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, _ = bench(tmp_path / "whole", 5, "sasrec")
    parts, looks = tmp_path / "parts", 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        return looks % 12 == 0

    stops = 0
    while True:
        try:
            again, _ = bench(parts, 5, "sasrec", should_stop=stop)
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    assert essence(searches(parts)["sasrec"]) == essence(searches(tmp_path / "whole")["sasrec"])
    assert again[0].cases == whole[0].cases and again[0].config == whole[0].config


def test_more_trials_go_on_from_fewer_and_fewer_look_at_the_first(tmp_path: Path) -> None:
    bench(tmp_path / "whole", 3, "sasrec")
    bench(tmp_path / "grown", 2, "sasrec")
    bench(tmp_path / "grown", 3, "sasrec")
    assert essence(searches(tmp_path / "grown")["sasrec"]) == essence(searches(tmp_path / "whole")["sasrec"])
    (small,), seen = bench(tmp_path / "grown", 2, "sasrec")
    assert not trained(seen, "sasrec") and any("of 2" in note for note in small.notes)
    assert len(searches(tmp_path / "grown")["sasrec"].trials) == 3


def test_adapters_read_the_chosen_encoder_and_the_best_trial_is_not_trained_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    config = settings(tiny_model)
    results, seen = bench(tmp_path, 2, "lora", "ilora", "mean-gate", config=config)
    found = searches(tmp_path)
    assert {name: len(search.trials) for name, search in found.items()} == {
        "sasrec": 2, "lora": 2, "ilora": 2,
    }  # fmt: skip
    assert "training.gate_rate_multiplier" in found["ilora"].trials[0].settings
    assert "training.gate_rate_multiplier" not in found["lora"].trials[0].settings
    assert found["sasrec"].best is not None
    chosen = found["sasrec"].trials[found["sasrec"].best]
    for result in results:
        for place, value in chosen.settings.items():
            assert result.config["encoder"][place.partition(".")[2]] == value
    lora, ilora, control = results
    assert control.config == ilora.config and lora.config["training"] != {}
    for name in ("lora", "ilora"):
        of_method = [event for event in seen if isinstance(event, Evaluated) and event.method == name]
        validated = [event for event in of_method if event.set == "validation" and event.step]
        assert len(validated) == 2 * 2  # of two trials; what is tested was not trained a third time
    assert not list((tmp_path / "work" / "checkpoints").glob("*"))


def test_what_does_worse_than_half_of_the_others_is_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    study = open_study(tmp_path / "one.db", "key", 0)
    space, config = space_of("sasrec", settings()), settings()
    for number in range(5):
        asked = asked_of(study, number, config, 0, space)
        asked.report(0.5, 10)
        study.tell(asked, 0.5)
    seen: list[Event] = []
    follower = _Follower(asked_of(study, 5, config, 0, space), "sasrec", seen.append, None)
    follower(Evaluated("gru4rec", 0, "validation", 5, {"MRR": 0.1}, 10))  # another method's
    follower(Evaluated("sasrec", 0, "spread", 5, {"MRR": 0.1}, 10))  # the test never counts
    with pytest.raises(Pruned):
        follower(Evaluated("sasrec", 0, "validation", 5, {"MRR": 0.1}, 10))
    assert len(seen) == 3


def test_a_trial_that_was_stopped_early_is_told_as_such_and_never_wins(tmp_path: Path) -> None:
    study = open_study(tmp_path / "one.db", "key", 0)
    for value, state in ((0.4, TrialState.COMPLETE), (0.6, TrialState.PRUNED)):
        asked = asked_of(study, len(study.trials), settings(), 0, space_of("sasrec", settings()))
        asked.report(value, 10)
        study.tell(asked, value if state == TrialState.COMPLETE else None, state=state)
    kept = [kept_of(trial) for trial in finished_of(study)]
    assert [(trial.state, trial.mrr) for trial in kept] == [(ENDED, 0.4), (PRUNED, 0.6)]
    assert Search("tiny", "paper", "sasrec", 0, 6, "ab" * 32, tuple(kept)).best == 0


def test_a_proposal_follows_from_the_finished_trials_alone(tmp_path: Path) -> None:
    space, config = space_of("sasrec", settings()), settings()
    found = []
    for name, given_up in (("a", 0), ("b", 1)):
        study = open_study(tmp_path / f"{name}.db", "key", 0)
        for number in range(6):
            for _ in range(given_up):
                study.tell(asked_of(study, number, config, 0, space), state=TrialState.FAIL)
            asked = asked_of(study, number, config, 0, space)
            found.append((name, asked.params))
            study.tell(asked, 1 / (1 + asked.params["encoder.dropout"]))
    assert [params for name, params in found if name == "a"] == [
        params for name, params in found if name == "b"
    ]


def test_every_searched_setting_can_be_set_and_holds_the_runs_own_value() -> None:
    high = with_values(settings(), {"encoder.learning_rate": 0.5, "training.gate_rate_multiplier": 0.0})
    for method in METHODS:
        for one in space_of(method, high):
            assert one.low <= value_at(high, one.path) <= one.high
            for value in (one.low, one.high):
                assert value_at(with_values(high, {one.path: value}), one.path) == value
    assert not space_of("popularity", high) and not space_of("zero-shot", high)
    assert not space_of("mean-gate", high)


def test_trials_that_cannot_be_trained_count_and_never_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import core.training.loop as loop

    def broken(self: Any) -> None:
        raise TrainingError("the loss is not a number")

    monkeypatch.setattr(loop.Loop, "_step", broken)
    with pytest.raises(TrainingError, match="none of its trials"):
        bench(tmp_path, 2, "sasrec")
    assert [trial.state for trial in searches(tmp_path)["sasrec"].trials] == [FAILED, FAILED]


# --- files and commands -----------------------------------------------------------------------------------


def made_up() -> Search:
    trials = (
        Trial({"encoder.learning_rate": 1e-3, "encoder.dropout": 0.3}, ENDED, 0.5, 10.0),
        Trial({"encoder.learning_rate": 2e-3, "encoder.dropout": 0.1}, PRUNED, 0.3, 2.0),
        Trial({"encoder.learning_rate": 3e-3, "encoder.dropout": 0.2}, FAILED, None, 1.0),
        Trial({"encoder.learning_rate": 4e-3, "encoder.dropout": 0.2}, ENDED, 0.5, 9.0),
    )
    return Search("tiny", "paper", "sasrec", 0, 6, "ab" * 32, trials)


def test_trials_are_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_search(made_up(), tmp_path)
    assert load_search(path) == made_up() and made_up().best == 0  # the first of equals
    text, _ = run(capsys, "results", "--trials", "--out", tmp_path)
    assert "Trials of SASRec on tiny" in text and "stopped early" in text
    record = json.loads(run(capsys, "results", "--trials", "--json", "--out", tmp_path)[0])
    assert record["searches"][0]["chosen"] == 1
    table = run(capsys, "results", "--trials", "--csv", "--out", tmp_path)[0]
    lines = list(csv.DictReader(io.StringIO(table)))
    assert [line["chosen"] for line in lines] == ["True", "False", "False", "False"]
    save_result(made_up_result("sasrec"), tmp_path)
    merge([tmp_path], tmp_path / "all")
    assert load_searches([tmp_path / "all"]) == ([made_up()], [])
    path.write_text(path.read_text()[:-30])
    assert path.name in run(capsys, "results", "--trials", "--out", tmp_path, code=2)[1]


def test_a_number_after_tune_is_a_number_of_trials_and_without_one_nothing_changed() -> None:
    assert with_number_of_trials(["bench", "--tune", "20", "--seeds", "2"]) == [
        "bench", "--trials", "20", "--seeds", "2",
    ]  # fmt: skip
    assert with_number_of_trials(["bench", "--tune=20"]) == ["bench", "--trials=20"]
    for unchanged in (
        ["bench", "--tune", "--seeds", "2"],
        ["bench", "--tune"],
        ["train", "--tune", "2"],
        [],
    ):
        assert with_number_of_trials(unchanged) == unchanged


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tune", "0"), "trials is 0"),
        (("--tune", "-3"), "trials is -3"),
        (("--tune", "2", "--sweep", "rank=4,8"), "--sweep exclude each other"),
        (("--tune", "2", "--budget", "5"), "--budget exclude each other"),
        (("--trials", "2", "--tune"), "--tune alone exclude each other"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = run(capsys, "bench", "--dataset", "tiny", "--out", tmp_path, *arguments, code=2)
    assert said in told and told.count("\n") == 2


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    bench(tmp_path, 1, "sasrec")
    (study,) = (tmp_path / "tuning").glob("*.db")
    study.write_bytes(b"no database" * 100)
    with pytest.raises(ResultError, match=study.name):
        bench(tmp_path, 2, "sasrec")


def test_without_optuna_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match="Optuna") as error:
        bench(tmp_path, 1, "sasrec", emit=silent)
    assert "ilora-app[tune]" in error.value.hint
