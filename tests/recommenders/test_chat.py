"""The chat model as a row: same cases, judged as every written answer, announced, never paid twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.benchmark.run import Plan, run_benchmark
from core.config.chat import ChatConfig
from core.errors import InputError, Interrupted
from core.events import Event, Notice, Stopped
from core.lm.prompts import AnswerPrompt, prompt_text
from core.recommenders import chat_client
from core.recommenders.chat import INSTRUCTION, Chat
from core.results.format import Result
from core.results.store import load_results
from tests import tiny
from tests.chat_server import KEY, Script, completion, first_candidate, obedient, serving

pytestmark = pytest.mark.usefixtures("tiny_home", "ready")

CASES = 8


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(chat_client.KEY_VARIABLE, KEY)
    monkeypatch.setattr(chat_client, "FIRST_WAIT", 0.001)


def plan(out: Path, url: str, methods: tuple[str, ...] = ("chat",), seeds: int = 1, **settings: Any) -> Plan:
    config = dataclasses.replace(tiny.config("unused"), chat=ChatConfig(url, "tiny-chat", **settings))
    return Plan(config, methods, tuple(range(seeds)), out, "quick", "ilora-app bench")


def targets(out: Path) -> dict[str, str]:
    """The right answer to every question of the made-up dataset."""
    task = tiny.task(tiny.config(), out)
    recommender = Chat()
    recommender.fit(dataclasses.replace(task, config=plan(out, "http://127.0.0.1:1/v1").config))
    return {
        recommender.prompt(case.history, case.candidates): tiny.TITLES[case.target]
        for cases in task.samples.test.values()
        for case in cases
    }


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def bench(
    out: Path, answer: Callable[..., Any] = obedient, **more: Any
) -> tuple[Result, Script, list[Event]]:
    """One result of the chat model behind a server that answers like this."""
    events: list[Event] = []
    with serving(answer) as seen:
        (result,) = run_benchmark(plan(out, seen.url, **more), events.append)
    return result, seen, events


# --- the question ------------------------------------------------------------------------------------------


def test_it_reads_what_the_language_model_reads_as_text(tmp_path: Path) -> None:
    template = "Seen {history} before. Of {count}: {candidates} next:"
    prompt = AnswerPrompt(tiny.tokenizer(), tiny.TITLES, template)
    tokens = np.concatenate([piece.tokens for piece in prompt.prefix([0, 6], [2, 5, 9])])
    text = prompt_text(template, [tiny.TITLES[i] for i in (0, 6)], [tiny.TITLES[i] for i in (2, 5, 9)])
    assert f"<s>{text}" == tiny.tokenizer().decode(tokens)


def test_each_case_is_asked_once_in_the_cards_words_with_its_candidates_in_their_order(
    tmp_path: Path,
) -> None:
    _, seen, _ = bench(tmp_path)
    task = tiny.task(tiny.config(), tmp_path)
    cases = {
        (case.user, case.position): case for name in task.samples.test for case in task.samples.test[name]
    }
    expected = {
        f"{INSTRUCTION}\n\nSeen"
        + "".join(f" {tiny.TITLES[item]}\n" for item in case.history)
        + ". Of"
        + "".join(f" {tiny.TITLES[item]}\n" for item in case.candidates)
        + "the next is:"
        for case in cases.values()
    }
    assert set(seen.prompts) == expected
    assert len(seen.prompts) == len(expected) == CASES


# --- judged as the protocol generate -----------------------------------------------------------------------


def test_right_wrong_and_useless_answers_count_as_written_answers_do(tmp_path: Path) -> None:
    right = targets(tmp_path)

    def answer(prompt: str, number: int) -> tuple[int, Any, dict[str, str]]:
        listed = prompt.split("Of ")[1]
        wrong = next(title for title in tiny.TITLES if title in listed and title != right[prompt])
        said: list[tuple[int, Any, dict[str, str]]] = [
            (200, completion(right[prompt]), {}),
            (200, completion(f"\n“{right[prompt].upper()}”.\nEveryone loves it."), {}),
            (200, completion(wrong), {}),
            (200, completion(f"I would say {right[prompt]}!"), {}),
            (200, completion("42"), {}),
            (200, completion(None, refusal="no"), {}),
            (200, "{broken", {}),
            (400, {"error": {"message": "content policy"}}, {}),
        ]
        return said[number]

    result, seen, events = bench(tmp_path, answer)
    assert len(seen.bodies) == CASES
    found = {name: value.value for name, value in result.metrics["spread"].items()}
    assert found["HR@1"] == 2 / 8
    assert found["ValidRatio"] == 3 / 8
    assert found["HR@1 of valid"] == 2 / 3
    assert {case.rank for case in result.cases} == {1, 20}
    assert all(case.answer is not None for case in result.cases)
    assert result.protocol == "generate"
    assert result.model == "tiny-chat"
    assert "3 cases without a usable answer count as invalid" in " ".join(result.notes)
    warnings = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert warnings == [
        f"chat: {what}; such cases count as invalid answers"
        for what in ("refused", "no chat completion", "HTTP 400")
    ]


def test_a_server_that_fails_for_good_does_not_stop_the_table(tmp_path: Path) -> None:
    with serving(lambda *_: (500, "", {})) as seen:
        results = run_benchmark(plan(tmp_path, seen.url, ("popularity", "chat"), tries=2))
    assert [result.method for result in results] == ["popularity", "chat"]
    assert len(seen.bodies) == 2 * CASES
    assert results[1].metrics["spread"]["ValidRatio"].value == 0
    assert len({result.samples_sha256 for result in results}) == 1


def test_the_scores_name_the_answer_alone(tmp_path: Path) -> None:
    with serving() as seen:
        recommender = Chat()
        recommender.fit(tiny.task(plan(tmp_path, seen.url).config, tmp_path))
        scores = recommender.score([[1, 2, 3]], [[4, 5, 6]])
    assert scores.tolist() == [[1, 0, 0]]


# --- what it costs -----------------------------------------------------------------------------------------


def test_costs_are_said_before_the_first_request_and_the_bill_is_in_the_notes(tmp_path: Path) -> None:
    events: list[Event] = []
    asked_when_told: list[int] = []

    with serving() as seen:

        def emit(event: Event) -> None:
            events.append(event)
            if isinstance(event, Notice):
                asked_when_told.append(len(seen.bodies))

        (result,) = run_benchmark(plan(tmp_path, seen.url, price_in=10.0, price_out=100.0), emit)
    (said,) = notices(events)
    assert asked_when_told == [0]
    assert f"{CASES} requests to tiny-chat at {seen.url}" in said
    tokens = sum(-(-len(prompt) // 4) for prompt in seen.prompts)
    assert f"about {tokens} prompt tokens (estimated: 4 characters make one)" in said
    assert "at 10 and 100 per million tokens" in said
    bill = 8 * (100 * 10 + 5 * 100) / 1e6
    (usage,) = [note for note in result.notes if note.startswith("usage")]
    assert f"of 8 answers as the server reported it: 800 prompt and 40 answer tokens, {bill:.4f}" in usage
    assert f"asked tiny-chat at {seen.url}, answered by tiny-chat-1" in result.notes


def test_without_a_price_no_cost_is_stated_and_without_usage_none_is_made_up(tmp_path: Path) -> None:
    def answer(prompt: str, _: int) -> tuple[int, Any, dict[str, str]]:
        return 200, {"choices": [{"message": {"content": first_candidate(prompt)}}]}, {}

    result, _, events = bench(tmp_path, answer)
    assert "per million" not in " ".join([*notices(events), *result.notes])
    assert "the server reported no usage of its 8 answers" in result.notes


# --- nothing is paid twice ---------------------------------------------------------------------------------


def test_a_stopped_run_asks_only_the_rest(tmp_path: Path) -> None:
    whole, _, _ = bench(tmp_path / "whole")
    with serving() as seen:
        asked, events = plan(tmp_path / "parts", seen.url), list[Event]()
        with pytest.raises(Interrupted):
            run_benchmark(asked, events.append, lambda: len(seen.bodies) >= 3)
        assert len(seen.bodies) == 3
        assert [event.step for event in events if isinstance(event, Stopped)] == [3]
        assert not load_results(tmp_path / "parts")[0]
        again: list[Event] = []
        (result,) = run_benchmark(asked, again.append)
        assert len(seen.bodies) == CASES
        assert len(set(seen.prompts)) == CASES
    assert result.cases == whole.cases
    assert "5 requests" in notices(again)[0]
    assert "3 answers are on disk" in notices(again)[0]
    assert "800 prompt and 40 answer tokens" in " ".join(result.notes)  # the whole bill


def test_a_failure_is_asked_again_by_the_next_run_and_an_answer_is_not(tmp_path: Path) -> None:
    with serving(lambda prompt, number: (400, "", {}) if number < 2 else obedient(prompt, number)) as seen:
        with pytest.raises(Interrupted):
            run_benchmark(plan(tmp_path, seen.url), should_stop=lambda: len(seen.bodies) >= 6)
        (result,) = run_benchmark(plan(tmp_path, seen.url))
        assert len(seen.bodies) == CASES + 2
    assert result.metrics["spread"]["ValidRatio"].value == 1
    assert "count as invalid" not in " ".join(result.notes)


def test_training_seeds_share_the_answers(tmp_path: Path) -> None:
    with serving() as seen:
        events: list[Event] = []
        results = run_benchmark(plan(tmp_path, seen.url, seeds=3), events.append)
    assert len(seen.bodies) == CASES
    assert len({result.cases for result in results}) == 1
    assert "nothing is asked" in notices(events)[-1]


def test_another_price_is_the_same_result_and_another_model_is_not(tmp_path: Path) -> None:
    with serving() as seen:
        run_benchmark(plan(tmp_path, seen.url))
        run_benchmark(plan(tmp_path, seen.url, price_in=3.0))
        assert len(seen.bodies) == CASES
        other = plan(tmp_path, seen.url)
        config = dataclasses.replace(other.config, chat=ChatConfig(seen.url, "other-chat"))
        run_benchmark(dataclasses.replace(other, config=config))
        assert len(seen.bodies) == 2 * CASES
    assert {result.model for result in load_results(tmp_path)[0]} == {"tiny-chat", "other-chat"}


# --- the key, and bad input --------------------------------------------------------------------------------


def test_the_key_is_in_no_file_and_no_event(tmp_path: Path) -> None:
    def answer(prompt: str, number: int) -> tuple[int, Any, dict[str, str]]:
        said = f"{KEY} is your key" if number % 2 else first_candidate(prompt)
        return (400, {"error": {"message": KEY}}, {}) if number == 3 else (200, completion(said), {})

    _, seen, events = bench(tmp_path, answer)
    assert set(seen.keys) == {f"Bearer {KEY}"}
    assert not [event for event in events if KEY in event.to_json()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".jsonl"]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_wrong_key_ends_the_run_before_anything_is_trained(tmp_path: Path) -> None:
    with serving(lambda *_: (401, {"error": {"message": "bad key"}}, {})) as seen:
        asked = plan(tmp_path, seen.url, ("popularity", "sasrec", "chat"))
        with pytest.raises(InputError, match=r"the key is not accepted \(HTTP 401: bad key\)"):
            run_benchmark(asked)
        assert len(seen.bodies) == 1
    assert {result.method for result in load_results(tmp_path)[0]} == {"popularity"}


def test_a_plan_without_address_model_or_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="needs an address"):
        plan(tmp_path, "")
    monkeypatch.delenv(chat_client.KEY_VARIABLE)
    with pytest.raises(InputError, match="needs a key"):
        plan(tmp_path, "http://127.0.0.1:1/v1")
    plan(tmp_path, "", ("popularity",))
