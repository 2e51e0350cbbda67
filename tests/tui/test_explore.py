"""Explore: pick a user, change the history or the gate, and see what moves."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from core.events import Notice
from core.serving.protocol import Explained, Rank, Why
from ilora_app.tui.screens.explore import replay
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.views import View, command_of, view_of
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.history import HistoryList
from ilora_app.tui.widgets.rank_curve import RankCurve
from ilora_app.tui.widgets.ranking import TARGET, RankingList
from ilora_app.tui.widgets.users import UserList
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.stand_in import ILORA, USERS, StandIn, life, with_options


def explored(app: Any) -> ExploreState:
    assert isinstance(app.screen, ExploreScreen)
    return app.screen.explored


def said(app: Any) -> str:
    return " ".join(notification.message for notification in app._notifications)


def asked(app: Any, kind: type) -> list[Any]:
    return [request for request in app.app_state.main.asked if isinstance(request, kind)]


async def test_the_first_user_is_ranked_without_a_key(drive: Drive) -> None:
    async with drive() as (app, _):
        shown = text_of(app)
        assert explored(app).ranked is not None
        assert TARGET in shown
        assert "Comedy · 1970s" in shown
        assert f"Users · {USERS}" in shown


async def test_every_move_of_the_cursor_shows_that_users_history_and_ranking(drive: Drive) -> None:
    async with drive() as (app, pilot):
        for _ in range(5):
            await pilot.press("down")
        await settle(pilot)
        user = app.screen.query_one(UserList).at(5)
        assert user is not None
        assert explored(app).user is user
        assert explored(app).ranked.user == user.user
        assert explored(app).history == life(int(user.user))[:-1][-10:]


async def test_a_stale_answer_is_dropped(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.app_state.main.held = (Rank,)
        await pilot.press("down", "down")
        first, second = app.app_state.main.waiting
        app.app_state.main.answer(second)
        app.app_state.main.answer(first)
        await settle(pilot)
        assert explored(app).ranked.request == second.request


async def test_users_are_found_by_id_title_genre_and_part(drive: Drive) -> None:
    async with drive() as (app, pilot):
        users = app.screen.query_one(UserList)
        for query, right in {
            "7": lambda user: user.user == "7",
            "Horror of 3": lambda user: {13, 53} & set(user.items),
            "western": lambda user: any(item % 4 == 2 for item in user.items),
            "test": lambda user: user.part == "test",
        }.items():
            await pilot.press("slash", *query)
            await settle(pilot)
            assert users.shown, query
            assert all(right(user) for user in users.shown), query
            await pilot.press("escape")
            await settle(pilot)
            assert len(users.shown) == USERS


async def test_users_sort_by_length_and_by_how_one_sided_their_gate_is(drive: Drive) -> None:
    async with drive() as (app, pilot):
        users = app.screen.query_one(UserList)
        await pilot.press("o")
        assert [len(user.items) for user in users.shown] == sorted(
            (len(user.items) for user in users.shown), reverse=True
        )
        await pilot.press("o")
        sides = [user.one_sided for user in users.shown]
        assert sides == sorted(sides, reverse=True)
        assert sides[0] > sides[-1]


async def test_dropping_moving_and_adding_items_rank_again_and_show_what_moved(drive: Drive) -> None:
    async with drive() as (app, pilot):
        before = list(explored(app).history)
        app.screen.query_one(HistoryList).focus()
        await pilot.press("d")
        await settle(pilot)
        assert explored(app).history == before[1:]
        assert explored(app).ranked.history == before[1:]
        shown = text_of(app)
        assert "▲" in shown
        assert "▼" in shown
        await pilot.press("greater_than_sign")
        await settle(pilot)
        assert explored(app).history[:2] == [before[2], before[1]]
        await pilot.press("a", *"of 14", "enter", "escape")
        await settle(pilot)
        assert explored(app).history[-1] not in before
        assert "+ " in text_of(app)
        assert explored(app).ranked.history == explored(app).history


async def test_one_key_takes_all_edits_back(drive: Drive) -> None:
    async with drive() as (app, pilot):
        before, ranking = list(explored(app).history), explored(app).ranked.items
        app.screen.query_one(HistoryList).focus()
        await pilot.press("d", "d")
        app.screen.query_one(GatePanel).focus()
        await pilot.press("l")
        await settle(pilot)
        assert explored(app).edited
        await pilot.press("r")
        await settle(pilot)
        assert not explored(app).edited
        assert explored(app).history == before
        assert explored(app).ranked.items == ranking


async def test_an_expert_can_be_weighed_and_locked_and_the_weights_still_sum_to_one(drive: Drive) -> None:
    async with drive() as (app, pilot):
        natural = explored(app).ranked.gate
        app.screen.query_one(GatePanel).focus()
        await pilot.press("right", "right", "right")
        await settle(pilot)
        question = asked(app, Rank)[-1].question
        assert question["push"] == [0.75, 0, 0, 0]
        assert explored(app).weights()[0] > natural[0]
        assert sum(explored(app).weights()) == pytest.approx(1)
        assert "pushed in every layer" in text_of(app)
        await pilot.press("down", "l")
        await settle(pilot)
        assert explored(app).weights() == pytest.approx([0, 1, 0, 0])
        assert "E2 has everything" in text_of(app)


async def test_a_push_and_the_same_back_ask_and_show_what_was_there_before(drive: Drive) -> None:
    async with drive(engine=with_options(layers=10)) as (app, pilot):
        app.screen.query_one(GatePanel).focus()
        await settle(pilot)
        before, question = untimed(app), asked(app, Rank)[-1].question
        await pilot.press("right", "right")
        await settle(pilot)
        assert untimed(app) != before
        await pilot.press("left", "left")
        await settle(pilot)
        assert asked(app, Rank)[-1].question == question
        assert untimed(app) == before


def untimed(app: Any) -> str:
    """The screen's text without how long the answer took, which moves the line it stands in."""
    head, rest = text_of(app).split("\n", 1)
    return " ".join(re.sub(r"· \d+ ms", "", head).split()) + "\n" + rest


async def test_edits_pushes_and_locks_are_undone_and_made_again_by_keys(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("tab", "d", "d")
        app.screen.query_one(GatePanel).focus()
        await pilot.press("right", "l")
        await settle(pilot)
        done = explored(app).edit
        await pilot.press("u", "u", "u", "u")
        await settle(pilot)
        assert not explored(app).edited
        assert asked(app, Rank)[-1].question["history"] == explored(app).original
        await pilot.press("u")
        await settle(pilot)
        assert any("Nothing to undo" in note.message for note in app._notifications)
        await pilot.press("ctrl+y", "ctrl+y", "ctrl+y", "ctrl+y")
        await settle(pilot)
        assert explored(app).edit == done


async def test_while_an_answer_is_awaited_the_whole_ranking_is_dimmed_and_says_so(drive: Drive) -> None:
    async with drive() as (app, pilot):
        ranking = app.screen.query_one(RankingList)
        app.app_state.main.held = (Rank,)
        await pilot.press("tab", "d")
        await settle(pilot)
        assert ranking.stale
        assert ranking.styles.opacity < 1
        assert ranking.border_subtitle == "ranking …"
        app.app_state.main.release()
        await settle(pilot)
        assert not ranking.stale
        assert ranking.styles.opacity == 1
        assert ranking.border_subtitle != "ranking …"


async def test_help_search_and_palette_that_change_nothing_ask_nothing(drive: Drive) -> None:
    async with drive() as (app, pilot):
        before = len(asked(app, Rank))
        for key in ("question_mark", "ctrl+p"):
            await pilot.press(key)
            await settle(pilot)
            await pilot.press("escape")
            await settle(pilot)
        await pilot.press("tab", "a")
        await settle(pilot)
        await pilot.press("escape", "2")
        await settle(pilot)
        await pilot.press("1")
        await settle(pilot)
        assert len(asked(app, Rank)) == before + 2  # Compare's own: the first user, then the first case


async def test_a_key_goes_from_the_middle_of_a_life_to_its_last_item(drive: Drive) -> None:
    async with drive() as (app, pilot):
        last = explored(app).position
        await pilot.press("comma", "comma")
        await settle(pilot)
        assert explored(app).position == last - 2
        assert "L goes to the last item" in text_of(app)
        await pilot.press("L")
        await settle(pilot)
        assert explored(app).position == last


async def test_hits_count_the_films_that_are_shown(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("slash", *"western")
        await settle(pilot)
        users = app.screen.query_one(UserList)
        for user in users.shown:
            shown = user.items[:-1][-10:]
            assert users.hits[user.user] == sum(item % 4 == 2 for item in shown) > 0


async def test_own_taste_outlives_a_look_at_users(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("n", *"western", "enter", "escape")
        await settle(pilot)
        own = explored(app).history
        assert len(own) == 1
        app.screen.query_one(UserList).focus()
        await pilot.press("down")
        await settle(pilot)
        assert explored(app).user is not None
        await pilot.press("n")
        await settle(pilot)
        assert explored(app).history == own
        assert asked(app, Rank)[-1].question["history"] == own


async def test_reasons_have_one_scale_and_tiny_ones_no_bar(drive: Drive) -> None:
    history = HistoryList()
    history.items = [1, 2, 3]
    history.run_data.titles = ["a", "b", "c", "d"]
    history.why = Explained(1, 0, [1, 2, 3], [0.004, -0.002, 0.001], 1.0)
    assert "no item matters" in history.head(40)
    assert not any("█" in text or "▒" in text for at in range(3) for text, _ in history.cells(at, 40))
    history.why = Explained(1, 0, [1, 2, 3], [0.5, -0.25, 2.0], 1.0)
    assert "what each does" in history.head(40)
    drawn = ["".join(text for text, _ in history.cells(at, 40)) for at in range(3)]
    assert [line.count("█") + line.count("▒") for line in drawn] == [4, 2, 8]


async def test_a_bar_can_be_dragged_with_the_mouse(drive: Drive) -> None:
    async with drive() as (app, pilot):
        panel = app.screen.query_one(GatePanel)
        await pilot.mouse_down(panel, offset=(6, 2))
        await pilot.hover(panel, offset=(9, 2))
        await pilot.mouse_up(panel, offset=(9, 2))
        await settle(pilot)
        assert explored(app).edit.push
        assert 0 < explored(app).weights()[1] < 1


async def test_a_row_of_the_map_can_be_dragged_too(drive: Drive) -> None:
    async with drive(engine=with_options(layers=10)) as (app, pilot):
        panel = app.screen.query_one(GatePanel)
        await pilot.mouse_down(panel, offset=(6, 3))
        await pilot.hover(panel, offset=(9, 3))
        await pilot.mouse_up(panel, offset=(9, 3))
        await settle(pilot)
        wanted = (9 - 1 - 4 + 0.5) / panel._gauge()  # a frame, pointer and name, the middle of a cell
        assert explored(app).weights()[1] == pytest.approx(wanted, abs=1e-3)


async def test_why_shows_what_each_item_does(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one(RankingList).focus()
        await pilot.press("down", "w")
        await settle(pilot)
        request = asked(app, Why)[-1]
        assert request.item == explored(app).ranked.items[1]
        shown = text_of(app)
        assert "what each does for" in shown
        assert app.screen.query_one(HistoryList).border_subtitle == "full bar: 1 in log-prob."
        assert "+.40" in shown
        assert "▒" in shown  # what lowers it is hatched, not only red


async def test_the_whole_catalogue_can_be_ranked_and_a_target_that_was_not_found_is_named(
    drive: Drive,
) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one(RankingList).focus()
        await pilot.press("c")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["source"] == "catalogue"
        assert "iLoRA reranks SASRec's best 100" in text_of(app)
        assert " enc" in text_of(app)
        target = explored(app).target
        if target not in explored(app).ranked.items:
            assert "not retrieved" in text_of(app)
        await pilot.press("c")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["source"] == "raised"
        assert "iLoRA ranks the 100 that SASRec raises most" in text_of(app)
        await pilot.press("c")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["source"] == "benchmark"


async def test_a_taste_of_your_own_grows_from_nothing(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("n")
        await settle(pilot)
        assert "Type a title" in text_of(app)
        await pilot.press(*"horror", "enter", "down", "enter", "escape")
        await settle(pilot)
        question = asked(app, Rank)[-1].question
        assert question["user"] is None
        assert question["source"] == "catalogue"
        assert len(question["history"]) == 2
        assert explored(app).ranked.target is None
        assert "Your own taste" in text_of(app)


async def test_replay_walks_the_users_life_pauses_and_steps(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "REPLAY_SECONDS", 0.01)
    async with drive() as (app, pilot):
        await pilot.press("p")
        for _ in range(12):
            await pilot.pause(0.03)
        positions = [request.question["position"] for request in asked(app, Rank)]
        assert positions[1:4] == [3, 4, 5]
        await pilot.press("p")
        monkeypatch.setattr(replay, "REPLAY_SECONDS", 5)
        await pilot.press("p", "space")
        await settle(pilot)
        assert "paused" in text_of(app)
        at = explored(app).position
        await pilot.press("full_stop")
        await settle(pilot)
        assert explored(app).position == at + 1
        assert "steps" in text_of(app)


async def test_the_second_runs_ranks_stand_beside(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await settle(pilot)
        assert explored(app).beside is not None
        assert set(explored(app).beside.items) == set(explored(app).ranked.items)
        assert "LoRA" in text_of(app)


async def test_edits_survive_the_engines_death_and_its_restart(drive: Drive) -> None:
    from ilora_app.tui.engine.messages import EngineDied

    async with drive() as (app, pilot):
        app.screen.query_one(HistoryList).focus()
        await pilot.press("d")
        await settle(pilot)
        kept = list(explored(app).history)
        app.app_state.main.alive = False
        app.post_message(EngineDied("main", 9, "RuntimeError: out of luck"))
        await settle(pilot)
        assert "ctrl+r" in text_of(app)
        assert explored(app).history == kept
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert explored(app).history == kept
        assert explored(app).ranked.history == kept


async def test_a_line_that_is_no_event_is_shown_and_nothing_breaks(drive: Drive) -> None:
    from ilora_app.tui.engine.messages import EngineMumbled

    async with drive() as (app, pilot):
        app.post_message(EngineMumbled("main", "Segmentation [imminent"))
        await settle(pilot)
        assert "Segmentation [imminent" in said(app)
        await pilot.press("down")
        await settle(pilot)
        assert explored(app).ranked is not None


async def test_no_size_and_no_moment_of_resizing_breaks_it(drive: Drive) -> None:
    async with drive(size=(80, 24)) as (app, pilot):
        app.app_state.main.held = (Rank,)
        for size in ((200, 60), (40, 12), (80, 24), (20, 5), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.press("down")
        app.app_state.main.release()
        await settle(pilot)
        assert explored(app).ranked.user == explored(app).user.user


async def test_without_a_run_sasrec_ranks_and_the_key_to_train_is_named(drive: Drive) -> None:
    async with drive(engine=with_options(runs=False)) as (app, pilot):
        await settle(pilot)
        shown = text_of(app)
        assert "SASRec ranks" in shown
        assert "No trained run yet" in shown
        assert "3 trains iLoRA and LoRA (quick, about 12m here)" in shown


async def test_reasons_that_come_late_are_not_shown_beside_another_question(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one(RankingList).focus()
        app.app_state.main.held = (Why,)
        await pilot.press("w", "c")
        app.app_state.main.release()
        await settle(pilot)
        assert explored(app).why is None
        assert "what each does for" not in text_of(app)


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_both_scores_of_the_catalogues_candidates_show_at_every_width(drive: Drive, width: int) -> None:
    async with drive(size=(width, 40)) as (app, pilot):
        app.screen.query_one(RankingList).focus()
        await pilot.press("c")
        await settle(pilot)
        ranked = explored(app).ranked
        shown = text_of(app)
        assert re.search(r"score +enc", shown)
        for own, encoder in zip(ranked.scores[:5], ranked.encoder_scores[:5], strict=True):
            pair = f"{own:.2f} +{encoder:.2f}".replace("-", "−")
            assert re.search(pair, shown), pair


async def test_more_and_fewer_candidates_are_taken_from_the_catalogue(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one(RankingList).focus()
        await pilot.press("plus")
        await settle(pilot)
        assert "twenty candidates" in said(app)
        await pilot.press("c", "minus", "minus")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["retrieve"] == 20
        assert "iLoRA reranks SASRec's best 20" in text_of(app)
        assert len(explored(app).ranked.items) == 20
        await pilot.press("plus")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["retrieve"] == 50
        assert len(explored(app).ranked.items) == 40  # all that the stand-in finds


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_an_experts_words_are_never_cut_in_the_middle(drive: Drive, width: int) -> None:
    async with drive(size=(width, 40)) as (app, _):
        profiles, panel = app.app_state.run_data.profiles, app.screen.query_one(GatePanel)
        profiles[0]["words"] = "Documentary, Animation, Children's · 1930s, 1940s"
        for line, profile in zip(panel.render().plain.splitlines(), profiles, strict=True):
            words = re.split(r", | · ", profile["words"])
            assert "…" not in line
            assert words[0] in line
            shown = line[line.index(words[0]) :].strip()
            assert set(re.split(r", | · ", shown)) <= set(words)


async def test_gates_of_every_layer_are_a_heat_map_of_the_weights_in_force(drive: Drive) -> None:
    async with drive(engine=with_options(layers=10)) as (app, pilot):
        panel = app.screen.query_one(GatePanel)
        head, *lines = panel.render().plain.splitlines()
        assert "layer 1 → 10" in head
        assert len(lines) == 4
        cells = [line[4 : 4 + panel._gauge()] for line in lines]
        assert set("".join(cells)) <= set(" ░▒▓█")
        assert "█" in "".join(cells)
        assert len({cell for row in cells for cell in row}) > 1
        assert panel.content_size.height == 5  # the head and every expert
        panel.focus()
        await pilot.press("down", "l")
        await settle(pilot)
        assert explored(app).weights() == pytest.approx([0, 1, 0, 0])
        _, *lines = panel.render().plain.splitlines()
        cells = [line[4 : 4 + panel._gauge()] for line in lines]
        assert set(cells[1]) == {"█"}
        assert set(cells[0]) == {" "}
        await pilot.press("r")
        await settle(pilot)
        assert "layer 1 → 10" in text_of(app)


async def test_a_replay_draws_the_targets_rank_along_the_life(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "REPLAY_SECONDS", 0.01)
    async with drive() as (app, pilot):
        curve = app.screen.query_one(RankCurve)
        assert not curve.display
        await pilot.press("p")
        for _ in range(60):
            await pilot.pause(0.03)
            if app.screen.paused:
                break
        await settle(pilot)
        life_of = len(explored(app).user.items)
        assert [step.position for step in curve.steps] == list(range(3, life_of))
        for step, ranked in zip(curve.steps, explored(app).trail, strict=True):
            place = ranked.items.index(ranked.target)
            assert step.rank == ranked.ranks["ilora"][place]
            assert step.encoder == ranked.ranks["sasrec"][place]
        shown = text_of(app)
        mean = sum(step.rank for step in curve.steps) / len(curve.steps)
        assert f"iLoRA {mean:.1f}" in shown
        assert any(0x2800 < ord(sign) < 0x2900 for sign in shown)
        await pilot.press("p")
        await settle(pilot)
        assert not curve.display


async def test_a_replay_draws_and_names_the_encoder_that_the_gate_reads(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a GRU4Rec behind the gate, its ranks are drawn under its name, and not the method's own."""
    monkeypatch.setattr(replay, "REPLAY_SECONDS", 0.01)
    async with drive(engine=with_options(encoder="gru4rec")) as (app, pilot):
        await pilot.press("p")
        for _ in range(60):
            await pilot.pause(0.03)
            if app.screen.paused:
                break
        await settle(pilot)
        steps, trail = app.screen.query_one(RankCurve).steps, explored(app).trail
        assert len(steps) == len(trail) > 3
        for step, ranked in zip(steps, trail, strict=True):
            assert step.encoder == ranked.ranks["gru4rec"][ranked.items.index(ranked.target)]
        mean = sum(step.encoder for step in steps) / len(steps)
        assert f"GRU4Rec {mean:.1f}" in text_of(app)
        assert "SASRec" not in text_of(app)


async def test_an_encoder_beside_itself_is_drawn_once(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "REPLAY_SECONDS", 0.01)
    async with drive(engine=with_options(runs=False)) as (app, pilot):
        await pilot.press("p")
        for _ in range(60):
            await pilot.pause(0.03)
            if app.screen.paused:
                break
        await settle(pilot)
        shown = text_of(app)
        assert "mean so far: SASRec" in shown
        assert "┄" not in shown


async def test_a_target_that_the_encoder_did_not_find_is_placed_by_the_encoders_name(drive: Drive) -> None:
    async with drive(engine=with_options(encoder="caser")) as (app, pilot):
        app.screen.query_one(RankingList).focus()
        await pilot.press("c")
        await settle(pilot)
        assert "Caser's place 33" in str(app.screen.query_one(RankingList).border_subtitle)


async def test_a_deleted_run_folder_is_told_once_and_the_answers_go_on(drive: Drive) -> None:
    async with drive() as (app, pilot):
        warning = Notice("runs/models/x was deleted; what is in memory still answers", "warning")
        for _ in range(3):
            app.app_state.main.say(warning.to_json())
            await pilot.press("down")
        await settle(pilot)
        assert said(app).count("was deleted") == 1
        assert explored(app).ranked.user == explored(app).user.user


async def test_runs_that_cannot_be_opened_are_told_once(drive: Drive) -> None:
    async with drive() as (app, pilot):
        assert app.app_state.survey is not None
        found = dataclasses.replace(
            app.app_state.survey, problems=["runs/models/x is damaged – train it again"]
        )
        for _ in range(2):
            app.app_state.main.say(found.to_json())
            await settle(pilot)
        assert said(app).count("1 run cannot be opened: runs/models/x is damaged") == 1


async def test_of_a_burst_of_answers_only_the_last_is_drawn(drive: Drive) -> None:
    heard: list[int] = []
    async with drive() as (app, pilot):
        app.said.subscribe(app.screen, lambda said: heard.append(said[1].request), immediate=True)
        app.app_state.main.held = (Rank,)
        await pilot.press(*["down"] * 6)
        numbers = [request.request for request in app.app_state.main.waiting]
        assert len(numbers) == 6
        app.app_state.main.release()
        await settle(pilot)
        assert numbers[-1] in heard
        assert not set(heard) & set(numbers[1:-1])
        assert explored(app).ranked.request == numbers[-1]


# --- while the language model is loaded ------------------------------------------------------------------


async def test_the_encoder_ranks_until_the_model_is_loaded_and_edits_are_kept(drive: Drive) -> None:
    early = type("Early", (StandIn,), {"early": True})
    async with drive(engine=early) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, ExploreScreen)
        shown = text_of(app)
        assert "SASRec ranks 20 items while iLoRA loads" in shown
        assert "loading the model" in shown
        assert screen.explored.user is not None
        assert screen.explored.ranked is not None
        assert screen.explored.ranked.gate is None
        before = len(screen.explored.history)
        await pilot.press("tab", "d")
        await settle(pilot)
        assert screen.explored.ranked.history == screen.explored.history
        await pilot.press("tab", "right", "l")  # there is no gate to push yet
        app.app_state.main.load()
        await settle(pilot)
        assert "iLoRA ranks 20 candidates" in text_of(app)
        assert "until" not in text_of(app).splitlines()[2]
        assert len(screen.explored.history) == before - 1
        assert screen.explored.ranked.method == "ilora"
        assert screen.explored.weights()


async def test_a_view_with_pushed_experts_waits_for_the_gate_and_keeps_its_push(drive: Drive) -> None:
    early = type("Early", (StandIn,), {"early": True})
    view = View(1, "made-up", ILORA, "3", 5, [1, 2], ["Horror of 0", "Western of 0"], push=[0.5, 0, 0, 0])
    async with drive(engine=early, opening=view) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, ExploreScreen)
        asked = [request for request in app.app_state.main.asked if isinstance(request, Rank)]
        assert asked[-1].question["push"] is None
        app.app_state.main.load()
        await settle(pilot)
        asked = [request for request in app.app_state.main.asked if isinstance(request, Rank)]
        assert asked[-1].question["push"] == [0.5, 0, 0, 0]


async def test_a_step_of_a_replay_leaves_the_ranking_before_it_dimmed_on_screen(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("comma")
        await settle(pilot)
        app.app_state.main.held = (Rank,)
        await pilot.press("full_stop")
        await settle(pilot)
        ranking = app.screen.query_one(RankingList)
        assert ranking.count
        assert ranking.stale
        assert "ranking …" in text_of(app)
        app.app_state.main.release()
        await settle(pilot)
        assert not ranking.stale


async def test_a_taste_of_your_own_can_be_asked_what_it_raises(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("n")
        await settle(pilot)
        await pilot.press(*"horror", "enter", "escape")
        await settle(pilot)
        app.screen.query_one(RankingList).focus()
        await pilot.press("c")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["source"] == "raised"
        assert explored(app).own
        view = view_of(explored(app))
        assert view is not None
        assert "--from raised --candidates 100" in command_of(view)
        await pilot.press("c")
        await settle(pilot)
        assert asked(app, Rank)[-1].question["source"] == "catalogue"
