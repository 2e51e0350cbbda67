"""A run kept warm: rankings are the benchmark's, edits and weights count, reasons add up to what they say."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.config.settings import GateConfig
from core.data.card_files import load_card
from core.errors import InputError, Interrupted, ResultError
from core.evaluation.metrics import ranks_from_scores
from core.events import Event, Notice, StageStarted, StepLogged
from core.ilora.experts import describe_experts, one_sidedness
from core.ilora.model import AdaptedModel
from core.lm.loading import load_llm
from core.recommenders.registry import method_class
from core.runs.store import read_run, save_run
from core.serving import server
from core.serving.opening import open_session
from core.serving.protocol import (
    CATALOGUE,
    RAISED,
    Curves,
    CurvesListed,
    EncoderReady,
    Estimate,
    Open,
    Opened,
    Question,
    Rank,
    Ranked,
    RequestFailed,
    Survey,
    Surveyed,
    WarmedUp,
)
from core.serving.server import Inbox, WarmEngine, listen
from core.serving.session import Session, log_probabilities, ranks_of
from core.stages import Watch
from tests import made_up, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, dict[str, str]]:
    """A tiny iLoRA run on disk, and the environment that finds its data."""
    return tiny.trained_run(tmp_path_factory.mktemp("session"), "ilora", tiny_model)


@pytest.fixture
def run(trained: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    path, environment = trained
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def session(run: Path) -> Session:
    return open_session(run)


def a_question(session: Session, **changes: object) -> Question:
    """The first test case."""
    case = session.samples.test["last"][0]
    asked = {"history": list(case.history), "user": case.user, "position": case.position, **changes}
    return Question(**asked)  # type: ignore[arg-type]


def test_the_ranking_is_the_benchmarks_own(session: Session) -> None:
    for case in session.samples.test["last"]:
        found = session.rank(1, Question(list(case.history), user=case.user, position=case.position))
        assert set(found.items) == set(case.candidates)
        assert found.target == case.target
        scores = session.recommender.score([case.history], [case.candidates])
        expected = ranks_from_scores(scores, np.array([case.candidates.index(case.target)]))
        assert found.ranks["ilora"][found.items.index(case.target)] == expected[0]
        assert found.scores == sorted(found.scores, reverse=True)


def test_opening_says_how_far_the_gate_of_all_users_is_and_can_be_stopped(run: Path) -> None:
    events: list[Event] = []
    session = open_session(run, events.append)
    assert [event.stage for event in events if isinstance(event, StageStarted)][:1] == ["load"]
    users, _ = session.gates()
    last = events[-1]
    assert isinstance(last, StepLogged)
    assert (last.stage, last.step, last.total) == ("gates", len(users), len(users))
    other = open_session(run)
    other.watch = Watch(should_stop=lambda: True)
    with pytest.raises(Interrupted):
        other.gates()


@pytest.mark.parametrize("method", ["gru4rec", "morec"])
def test_a_baselines_run_ranks_and_retrieves_by_itself(method: str, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(tmp_path / "home", tmp_path / "mirror").items():
            patch.setenv(name, value)
        recommender = method_class(method)()
        task = tiny.task(tiny.config(tiny_model), tmp_path / "work")
        recommender.fit(task)
        path = save_run(recommender, task, tmp_path / "run", made_up.result())
        session = open_session(path)
    found = session.rank(1, a_question(session))
    assert set(found.ranks) == {method, "popularity"}
    assert found.scores == found.encoder_scores
    assert found.gate is None
    assert len(session.rank(2, a_question(session, source=CATALOGUE, retrieve=15)).items) == 15


def test_a_push_of_nothing_changes_nothing_and_a_push_is_gone_with_its_question(session: Session) -> None:
    recommender: Any = session.recommender
    torch.manual_seed(0)
    with torch.no_grad():  # a tiny model learns nothing in a few steps; so that every expert shows
        for part, parameter in recommender.model.parameters().items():
            if not part.startswith("gate."):
                parameter.add_(0.5 * torch.randn(parameter.shape))
    natural = session.rank(1, a_question(session))
    assert natural.gate is not None
    assert natural.omega == natural.gate
    same = session.rank(2, a_question(session, push=[0.0] * len(natural.gate)))
    assert (same.scores, same.omega) == (natural.scores, natural.omega)
    pushed = session.rank(3, a_question(session, push=[1.0] + [0.0] * (len(natural.gate) - 1)))
    assert pushed.gate == natural.gate
    assert pushed.scores != natural.scores
    assert pushed.omega is not None
    ratio = pushed.omega[0] / pushed.omega[1]
    assert ratio == pytest.approx(natural.gate[0] / natural.gate[1] * np.e, rel=1e-4)
    assert sum(pushed.omega) == pytest.approx(1)
    locked = session.rank(4, a_question(session, lock=2))
    assert locked.omega == [0, 0, 1, 0]
    assert session.rank(5, a_question(session)).scores == natural.scores


@pytest.mark.parametrize(("scope", "sites"), [("per-layer", 2), ("per-module", 14)])
def test_a_push_acts_on_each_layers_own_gate_and_a_lock_holds_in_all_of_them(
    session: Session, scope: str, sites: int
) -> None:
    """The same adapter with a gate for each layer or module in the place of the one that all shared."""
    assert session.rank(1, a_question(session)).gate_by_layer is None
    chosen = a_question(session, lock=1)
    expected = session.rank(2, chosen)
    recommender: Any = session.recommender
    shared = recommender.model
    config = dataclasses.replace(shared.config, gate=GateConfig(scope=scope))
    titles, prompts = session.dataset.catalogue.titles, load_card("tiny").prompts
    llm = load_llm(config.model)
    recommender.model = AdaptedModel(llm, shared.encoder, titles, prompts, config, True, seed=0)
    own = {**shared.state(), "gate.linear.weight": torch.randn(sites * 4, 16)}
    recommender.model.load_state(own)

    natural = session.rank(3, a_question(session))
    by_layer = np.array(natural.gate_by_layer)
    assert by_layer.shape == (2, 4)
    np.testing.assert_allclose(by_layer.mean(0), natural.gate, atol=1e-5)
    assert np.abs(by_layer[0] - by_layer[1]).max() > 1e-3
    nothing = session.rank(4, a_question(session, push=[0.0] * 4))
    assert nothing.scores == natural.scores
    assert nothing.omega_by_layer == natural.gate_by_layer
    pushed = session.rank(5, a_question(session, push=[0.0, 0.5, 0.0, 0.0]))
    if scope == "per-layer":
        raised = by_layer * np.exp([0.0, 0.5, 0.0, 0.0])
        expected_rows = raised / raised.sum(1, keepdims=True)
        np.testing.assert_allclose(pushed.omega_by_layer, expected_rows, atol=1e-5)
    found = session.rank(6, chosen)
    np.testing.assert_allclose(found.omega_by_layer, [[0, 1, 0, 0]] * 2)
    assert found.items == expected.items
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"push": [1.0]},
        {"push": [0.5, 0.0, 0.0, float("nan")]},
        {"push": [0.1] * 9},
        {"lock": 4},
        {"lock": -1},
    ],
)
def test_changes_that_do_not_fit_the_gate_are_refused(session: Session, change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        session.rank(1, a_question(session, **change))


def test_the_catalogue_gives_the_best_unseen_items_of_the_encoder(session: Session) -> None:
    asked = a_question(session, source=CATALOGUE, retrieve=8)
    found = session.rank(1, asked)
    assert len(found.items) == 8
    assert not set(found.items) & set(asked.history)
    user, position = asked.user, asked.position
    assert user is not None
    met = set(session.dataset.sequences[user].items[:position].tolist())
    assert not set(found.items) & met
    everything = [
        item for item in range(len(session.dataset.catalogue)) if item not in session.seen(asked, ())
    ]
    scores = session.encode(asked.history, everything)
    best = {everything[index] for index in np.argsort(-scores)[:8]}
    assert set(found.items) == best
    assert found.target_place is not None
    assert (found.target in found.items) == (found.target_place <= 8)


def test_a_history_of_your_own_is_ranked_from_the_catalogue_only(session: Session) -> None:
    with pytest.raises(InputError, match="of your own"):
        session.rank(1, Question([1, 2, 3]))
    found = session.rank(1, Question([1, 2, 3], source=CATALOGUE, retrieve=5))
    assert found.target is None
    assert not {1, 2, 3} & set(found.items)


def test_only_the_last_ten_items_are_read(session: Session) -> None:
    long = session.rank(1, Question(list(range(15)), source=CATALOGUE, retrieve=5, candidates=[20, 21, 22]))
    short = session.rank(
        1, Question(list(range(5, 15)), source=CATALOGUE, retrieve=5, candidates=[20, 21, 22])
    )
    assert long.scores == short.scores
    assert long.history == list(range(5, 15))


@pytest.mark.parametrize(
    "question",
    [
        Question([]),
        Question([10_000]),
        Question([-1]),
        Question([1], user="nobody", position=3),
        Question([1], user="1", position=10_000),
        Question([1], source="elsewhere"),
        Question([1], candidates=[]),
        Question([1], candidates=[10_000]),
        Question([1], candidates=[2, -1]),
        Question([1], source="catalogue", retrieve=0),
        Question([1], source="catalogue", lock=10_000),
        Question([1], source="catalogue", push=[0.5]),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(session: Session, question: Question) -> None:
    with pytest.raises(InputError):
        session.rank(1, question)


def test_a_reason_is_the_change_of_the_candidates_log_probability(session: Session) -> None:
    asked = a_question(session)
    ranked = session.rank(1, asked)
    item = ranked.items[1]
    found = session.why(2, asked, item, ranked.items)
    whole = session.recommender.score([asked.history], [ranked.items]).astype(np.float64)
    for place, change in enumerate(found.changes):
        left = asked.history[:place] + asked.history[place + 1 :]
        without = session.recommender.score([left], [ranked.items]).astype(np.float64)
        expected = log_probabilities(whole)[0, 1] - log_probabilities(without)[0, 1]
        assert change == pytest.approx(expected, abs=1e-3)


def test_a_single_item_has_no_reason(session: Session) -> None:
    found = session.why(1, Question([4], source=CATALOGUE), 7, [7, 8, 9])
    assert found.changes == [None]


def test_all_that_is_said_about_the_users_gates_reads_each_history_once(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(run)
    read: list[int] = []
    for name in ("expert_weights", "expert_weights_by_layer"):
        real = getattr(session.recommender, name)

        def counted(histories: Any, real: Any = real) -> Any:
            found = real(histories)
            read.extend([len(histories)] if found is not None else [])
            return found

        monkeypatch.setattr(session.recommender, name, counted)
    users, weights = session.gates()
    assert weights is not None
    assert session.one_sided()
    assert session.gates()[1] is not None
    assert sum(read) == len(users)


def test_every_user_has_a_gate_and_every_expert_a_profile(session: Session) -> None:
    users, weights = session.gates()
    assert weights is not None
    assert len(users) == len(weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    profiles = session.profiles()
    assert len(profiles) == weights.shape[1]
    assert all(profile.words for profile in profiles)


def test_a_gate_is_as_one_sided_as_its_layers_are_though_their_mean_is_even(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = session.one_sided()
    _, weights = session.gates()
    assert weights is not None
    assert shared == pytest.approx(one_sidedness(weights), abs=1e-6)

    def by_layer(histories: list[list[int]]) -> np.ndarray:
        return np.array([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]] * len(histories))

    monkeypatch.setattr(session.recommender, "expert_weights_by_layer", by_layer)
    monkeypatch.delitem(vars(session), "_newest_omega")  # what was read before
    assert session.one_sided() == pytest.approx([1.0] * len(weights))


def test_profiles_name_what_raises_an_expert_and_only_that() -> None:
    tags = [["Horror"], ["Comedy"]] * 20
    years = ["1975", "1995"] * 20
    histories = [[2 * at % 40] * 3 if at % 2 else [(2 * at + 1) % 40] * 3 for at in range(40)]
    scary = np.array([0.9 if history[0] % 2 == 0 else 0.2 for history in histories])
    profiles = describe_experts(np.stack([scary, 1 - scary], axis=1), histories, tags, years)
    assert profiles[0].words == "Horror · 1970s"
    assert profiles[1].words == "Comedy · 1990s"
    even = describe_experts(np.full((40, 2), 0.5), histories, tags, years)
    assert {profile.words for profile in even} == {"nothing stands out"}


def test_one_sidedness_goes_from_even_to_alone() -> None:
    assert one_sidedness(np.array([[0.25] * 4, [1, 0, 0, 0]])) == pytest.approx([0, 1])


def test_ties_count_against_every_item() -> None:
    assert ranks_of(np.array([3.0, 1.0, 3.0])) == [2, 3, 2]


# --- the warm engine -------------------------------------------------------------------------------------


def test_a_burst_keeps_the_newest_ranking_and_everything_else() -> None:
    inbox = Inbox()
    listen(
        [Rank(1, {}).to_json(), Open(2, "runs").to_json(), Rank(3, {}).to_json(), Rank(4, {}).to_json()],
        inbox,
        lambda _: None,
    )
    taken = [inbox.take(), inbox.take(), inbox.take()]
    assert [request.request if request else None for request in taken] == [2, 4, None]


def test_a_line_that_is_no_request_is_said_and_passed_over() -> None:
    said: list[Event] = []
    inbox = Inbox()
    listen(['{"ask": "Nonsense"}', "not json", "[]", Rank(9, {}).to_json()], inbox, said.append)
    assert [type(event) for event in said] == [Notice] * 3
    taken = inbox.take()
    assert taken is not None
    assert taken.request == 9


def test_the_engine_opens_ranks_and_refuses_without_ending(run: Path) -> None:
    said: list[Event] = []
    engine = WarmEngine(said.append)
    engine.answer(Rank(1, {"history": [1]}))
    engine.answer(Open(2, str(run.parent.parent), str(run), "tiny"))
    engine.answer(Rank(3, {"history": []}))
    engine.answer(Rank(4, {"no": "such field"}))
    engine.answer(Rank(5, {"history": [1, 2], "source": CATALOGUE}))
    kinds = {type(event).__name__: event for event in said}
    assert [event.request for event in said if isinstance(event, RequestFailed)] == [1, 3, 4]
    assert isinstance(kinds["Opened"], Opened)
    assert kinds["Opened"].experts == 4
    assert isinstance(kinds["WarmedUp"], WarmedUp)
    last = said[-1]
    assert isinstance(last, Ranked)
    assert last.request == 5
    for event in said:
        assert Event.from_json(event.to_json()) == event


def test_an_engine_whose_memory_ran_out_says_so_and_answers_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []
    engine = WarmEngine(said.append)

    def fill(_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setitem(engine._handlers, Open, fill)
    engine.answer(Open(1, str(tmp_path), str(tmp_path), "tiny"))
    assert [(event.request, event.title) for event in said if isinstance(event, RequestFailed)] == [
        (1, "the memory ran out")
    ]


def test_a_run_that_is_gone_is_an_answer_not_an_end(run: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    engine = WarmEngine(said.append)
    engine.answer(Open(1, str(tmp_path), str(tmp_path / "models" / "gone"), "tiny"))
    assert isinstance(said[-1], RequestFailed)
    assert "gone" in said[-1].title


def test_a_run_deleted_while_open_still_answers_and_says_so(run: Path) -> None:
    said: list[Event] = []
    engine = WarmEngine(said.append)
    engine.answer(Open(1, str(run.parent.parent), str(run), "tiny"))
    hidden = run.rename(run.with_name("hidden"))
    try:
        engine.answer(Rank(2, {"history": [1, 2], "source": CATALOGUE}))
    finally:
        hidden.rename(run)
    assert isinstance(said[-1], Ranked)
    assert any(isinstance(event, Notice) and "deleted" in event.text for event in said)


def test_users_and_catalogue_come_before_the_model_is_loaded(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []

    def refuse(*_: object) -> None:
        raise ResultError("no model", "there is none")

    monkeypatch.setattr(method_class(read_run(run).method), "load", refuse)
    WarmEngine(said.append).answer(Open(1, str(run.parent.parent), str(run), "tiny"))
    kinds = [type(event).__name__ for event in said]
    assert {"Opened", "ItemsListed", "UsersListed"} <= set(kinds)
    assert kinds[-1] == "RequestFailed"


def test_what_a_history_raises_is_its_score_above_the_training_users_mean(session: Session) -> None:
    history, seen = (1, 2, 3), frozenset({1, 2, 3})
    users, histories = session.newest_histories()
    trains = [past for user, past in zip(users, histories, strict=True) if user not in session.parts]
    assert 0 < len(trains) < len(users)
    with torch.no_grad():
        usual = session.encoder.logits(session.encoder.represent(trains)).mean(0)
        raised = session.encoder.logits(session.encoder.represent([history]))[0] - usual
    raised[list(seen)] = -torch.inf
    found = session.retrieve(history, seen, 5, raised=True)
    assert list(found.items) == raised.argsort(descending=True)[:5].tolist()
    ranked = session.rank(0, Question(list(history), RAISED, retrieve=5))
    assert set(ranked.items) == set(found.items)
    assert ranked.source == RAISED


def wait_for(said: list[Event], kind: type[Event]) -> None:
    """Until an event of a kind was said, however busy the machine is."""
    end = time.monotonic() + 120
    while not any(isinstance(event, kind) for event in said):
        assert time.monotonic() < end, said
        time.sleep(0.01)


def test_the_encoder_answers_until_the_model_is_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Event] = []
    go, kind = threading.Event(), method_class(read_run(run).method)
    real = kind.load

    def slow(self: Any, folder: Path, task: Any) -> None:
        assert go.wait(120)
        real(self, folder, task)

    monkeypatch.setattr(kind, "load", slow)
    engine, inbox = WarmEngine(said.append), Inbox()
    working = threading.Thread(target=engine.run, args=(inbox,), daemon=True)
    working.start()
    question = {"history": [1, 2], "source": CATALOGUE}
    inbox.put(Open(1, str(run.parent.parent), str(run), "tiny", early=True))
    inbox.put(Rank(2, question))
    wait_for(said, Ranked)
    ready = next(event for event in said if isinstance(event, EncoderReady))
    go.set()
    wait_for(said, WarmedUp)
    inbox.put(Rank(3, question))
    inbox.close()
    working.join(120)
    ranked = [event for event in said if isinstance(event, Ranked)]
    assert [event.method for event in ranked] == [ready.encoder, read_run(run).method]
    assert ranked[0].gate is None
    assert set(ranked[0].ranks) == {ready.encoder, "popularity"}
    assert ranked[0].encoder_scores == ranked[0].scores
    assert set(ranked[0].items) == set(ranked[1].items)  # the encoder retrieves the same


def test_where_the_model_cannot_be_loaded_the_encoder_does_not_stand_in(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event] = []

    def refuse(*_: object) -> None:
        raise ResultError("no model", "there is none")

    monkeypatch.setattr(method_class(read_run(run).method), "load", refuse)
    engine = WarmEngine(said.append)
    engine.answer(Open(1, str(run.parent.parent), str(run), "tiny", early=True))
    wait_for(said, RequestFailed)
    engine.answer(Rank(2, {"history": [1, 2], "source": CATALOGUE}))
    assert [event.request for event in said if isinstance(event, RequestFailed)] == [1, 2]


def test_curves_come_from_result_files_and_a_run_that_is_gone_is_left_out(run: Path) -> None:
    said: list[Event] = []
    WarmEngine(said.append).answer(Curves(1, [str(run), str(run / "gone")]))
    listed = said[-1]
    assert isinstance(listed, CurvesListed)
    assert [curve["run"] for curve in listed.curves] == [str(run)]
    assert all({"step", "HR@1"} <= set(point) for point in listed.curves[0]["points"])
    assert listed.curves[0]["points"]


def test_the_demo_stays_in_the_survey_whatever_else_there_is(run: Path) -> None:
    """An interrupted benchmark leaves runs without a gate; what comes with the program is still offered."""
    said: list[Event] = []
    WarmEngine(said.append).answer(Survey(1, str(run.parent.parent), "movielens"))
    surveyed = said[-1]
    assert isinstance(surveyed, Surveyed)
    assert [found["demo"] for found in surveyed.runs] == [False, True, True, True]


def test_an_estimate_does_not_hold_a_ranking(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Event] = []
    begun, go = threading.Event(), threading.Event()

    def slow(request: Estimate, _: str) -> Event:
        begun.set()
        assert go.wait(30)
        return Notice(f"estimated {request.request}")

    monkeypatch.setattr(server, "estimate", slow)
    engine, inbox = WarmEngine(said.append), Inbox()
    plan = {
        "preset": "quick",
        "dataset": "tiny",
        "model": "m",
        "methods": ["lora"],
        "seeds": 1,
        "out": "runs",
    }
    engine.answer(Estimate(1, **plan))  # type: ignore[arg-type]
    assert begun.wait(30)
    engine.answer(Estimate(2, **plan))  # type: ignore[arg-type]
    engine.answer(Estimate(3, **plan))  # type: ignore[arg-type]
    engine.answer(Rank(4, {"history": [1]}))
    assert [type(event) for event in said] == [RequestFailed]  # nothing is open, but it was answered
    go.set()
    inbox.close()
    engine.run(inbox)
    assert [event.text for event in said[1:] if isinstance(event, Notice)] == ["estimated 1", "estimated 3"]


def test_an_estimate_never_fetches(own_home: Path) -> None:
    from core.serving.estimating import estimate

    with pytest.raises(InputError, match="movielens is not on this machine"):
        estimate(Estimate(1, "quick", "movielens", "m", ["lora"], 1, str(own_home / "runs")))
