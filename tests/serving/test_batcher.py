"""Questions that wait together share one forward; none is lost, and a full queue says so at once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from core.errors import InputError
from core.recommenders.registry import method_class
from core.serving.batcher import Batcher, Busy, Query
from core.serving.session import Session
from tests import tiny
from tests.ilora.test_model import adapted, stirred

pytestmark = pytest.mark.usefixtures("tiny_home")


@pytest.fixture
def session() -> Session:
    """An iLoRA that was never trained, every weight of it random."""
    model = stirred(adapted())
    model.train(False)
    recommender: Any = method_class("ilora")()
    recommender.model, recommender.batch = model, 2
    return Session(*tiny.load(tiny.config()), recommender, model.encoder)


def asks(count: int) -> list[Query]:
    rows = zip(tiny.histories(count, seed=2), tiny.candidates(count, size=8), strict=True)
    return [Query(tuple(history), tuple(row), top=8) for history, row in rows]


def held(session: Session) -> tuple[threading.Event, threading.Event]:
    """Stops the model in its first forward: what comes now has to wait. Events: it began, it may go on."""
    began, go_on, score = threading.Event(), threading.Event(), session.recommender.score

    def slow(histories: Any, candidates: Any) -> Any:
        began.set()
        assert go_on.wait(20)
        return score(histories, candidates)

    vars(session.recommender)["score"] = slow
    return began, go_on


def test_those_who_wait_share_a_forward_and_get_what_they_would_alone(session: Session) -> None:
    questions = asks(5)
    alone = [session.recommender.score([ask.history], [ask.candidates])[0] for ask in questions]
    began, go_on = held(session)
    batcher = Batcher(session, size=4, waiting=8)
    futures = [batcher.submit(questions[0])]
    assert began.wait(20)
    futures += [batcher.submit(ask) for ask in questions[1:]]
    go_on.set()
    answers = [future.result(20) for future in futures]
    batcher.close()
    assert [answer.together for answer in answers] == [1, 4, 4, 4, 4]
    assert (batcher.asked, batcher.forwards) == (5, 2)
    for ask, answer, scores in zip(questions, answers, alone, strict=True):
        order = np.argsort(-scores, kind="stable")
        assert answer.items == tuple(ask.candidates[place] for place in order)  # type: ignore[index]
        np.testing.assert_allclose(answer.scores, scores[order], rtol=1e-3, atol=1e-4)
        assert answer.omega is not None
        assert sum(answer.omega) == pytest.approx(1, abs=1e-5)


def test_a_full_queue_refuses_and_loses_none_that_it_took(session: Session) -> None:
    began, go_on = held(session)
    batcher = Batcher(session, size=2, waiting=3)
    taken = [batcher.submit(asks(1)[0])]
    assert began.wait(20)
    taken += [batcher.submit(ask) for ask in asks(3)]
    with pytest.raises(Busy):
        batcher.submit(asks(1)[0])
    assert batcher.waiting == 3
    go_on.set()
    assert len([future.result(20) for future in taken]) == 4
    assert batcher.submit(asks(1)[0]).result(20).items
    batcher.close()


def test_one_bad_question_spoils_no_other(session: Session) -> None:
    batcher = Batcher(session, size=4)
    everything = Query(tuple(range(tiny.ITEMS)))
    with pytest.raises(InputError, match="nearly the whole catalogue"):
        batcher.submit(everything).result(20)
    for wrong in (Query(()), Query((tiny.ITEMS,)), Query((0,), (1, -1))):
        with pytest.raises(InputError):
            batcher.submit(wrong)
    assert batcher.submit(Query((1, 2))).result(20).items
    batcher.close()


def test_a_fault_of_the_model_reaches_whoever_asked_and_the_next_is_answered(session: Session) -> None:
    score = session.recommender.score

    def broken(histories: Any, candidates: Any) -> Any:
        vars(session.recommender)["score"] = score
        raise RuntimeError("out of memory")

    vars(session.recommender)["score"] = broken
    batcher = Batcher(session)
    with pytest.raises(RuntimeError, match="out of memory"):
        batcher.submit(asks(1)[0]).result(20)
    assert batcher.submit(asks(1)[0]).result(20).items
    batcher.close()


def test_an_explanation_has_a_change_for_each_item_of_the_history(session: Session) -> None:
    batcher = Batcher(session)
    answer = batcher.submit(Query((1, 2, 3), (5, 6, 7), 2, True)).result(20)
    batcher.close()
    assert answer.changes is not None
    assert len(answer.changes) == 3
    assert len(answer.items) == 2
