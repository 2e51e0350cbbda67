"""One packed pass ranks as many passes would: order, company and padding change nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.lm.decoder import EndReader, at, decoder_view, run_decoder
from core.lm.listwise import ListwiseRanker
from core.lm.loading import LanguageModel
from core.lm.prompts import ListwisePrompt, Packed
from core.lm.slots import ItemSlots
from core.lm.states import SegmentStates, states_key
from tests import tiny

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
HISTORIES = tiny.histories(3)
CANDIDATES = tiny.candidates(3)


def prompt() -> ListwisePrompt:
    return ListwisePrompt(tiny.tokenizer(), tiny.TITLES, "Seen:", "Next:")


def ranker(llm: LanguageModel, lower: int = 2, prior: bool = False) -> ListwiseRanker:
    """A ranker in which every part matters."""
    states = SegmentStates(llm, prompt(), lower)
    upper = decoder_view(llm.decoder, lower, llm.depth, norm=True)
    torch.manual_seed(5)
    made = ListwiseRanker(states, upper, torch.randn(tiny.ITEMS, 16), prior)
    tiny.randomize(made.head)
    return made


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return tiny.language_model()


@pytest.fixture(scope="module", params=[0, 2, tiny.LAYERS - 1], ids=lambda lower: f"lower{lower}")
def ranking(request: pytest.FixtureRequest, llm: LanguageModel) -> ListwiseRanker:
    return ranker(llm, request.param)


@torch.no_grad()
def scores(ranking: ListwiseRanker, histories: Any = HISTORIES, candidates: Any = CANDIDATES) -> Tensor:
    found: Tensor = ranking(histories, candidates, None)
    return found


# --- packed = one by one -----------------------------------------------------------------------------------


def test_twenty_candidates_in_one_row_score_as_twenty_rows_of_one(ranking: ListwiseRanker) -> None:
    packed = scores(ranking)
    assert packed.shape == (3, 20)
    assert packed.std(dim=1).min() > 0.05  # there is something to compare
    alone = torch.stack(
        [
            torch.cat([scores(ranking, [history], [[item]])[0] for item in row])
            for history, row in zip(HISTORIES, CANDIDATES, strict=True)
        ]
    )
    torch.testing.assert_close(packed, alone, **CLOSE)


def test_reordered_candidates_get_their_scores_reordered(ranking: ListwiseRanker) -> None:
    order = np.random.default_rng(0).permutation(20).tolist()
    torch.testing.assert_close(
        scores(ranking, HISTORIES, tiny.rows(CANDIDATES, order)), scores(ranking)[:, order], **CLOSE
    )


def test_a_users_scores_do_not_depend_on_who_else_is_in_the_batch(ranking: ListwiseRanker) -> None:
    longest = [*tiny.histories(1, seed=9), list(range(10))]
    together = scores(ranking, [*HISTORIES, *longest], [*CANDIDATES, *tiny.candidates(2, seed=9)])
    torch.testing.assert_close(together[:3], scores(ranking), **CLOSE)
    torch.testing.assert_close(
        scores(ranking, HISTORIES[::-1], CANDIDATES[::-1]).flip(0), scores(ranking), **CLOSE
    )


def test_the_history_its_order_and_the_item_vectors_matter(ranking: ListwiseRanker) -> None:
    before = scores(ranking, [[1, 2, 3]], CANDIDATES[:1])
    for other in ([3, 2, 1], [1, 2], [1, 2, 4]):
        assert (scores(ranking, [other], CANDIDATES[:1]) - before).abs().max() > 1e-3
    vectors = ranking.slots.item_vectors.clone()
    ranking.slots.item_vectors.copy_(vectors.flip(0))
    assert (scores(ranking, [[1, 2, 3]], CANDIDATES[:1]) - before).abs().max() > 1e-3
    ranking.slots.item_vectors.copy_(vectors)


def test_the_gradient_of_a_batch_is_that_of_its_rows(llm: LanguageModel) -> None:
    ranking = ranker(llm)

    def gradient(rows: list[int]) -> Tensor:
        ranking.zero_grad()
        ranking([HISTORIES[i] for i in rows], [CANDIDATES[i] for i in rows], None).square().sum().backward()
        found = ranking.slots.projector.weight.grad
        assert found is not None
        return found.clone()

    torch.testing.assert_close(
        gradient([0, 1, 2]), gradient([0]) + gradient([1]) + gradient([2]), rtol=1e-3, atol=1e-3
    )


# --- lower and upper layers --------------------------------------------------------------------------------


def causal(ids: Tensor) -> Packed:
    """An ordinary prompt: everything is prefix."""
    batch, length = ids.shape
    return Packed(
        tokens=ids.numpy(),
        positions=np.tile(np.arange(length), (batch, 1)),
        branch=np.zeros((batch, length), dtype=np.int64),
        slots=np.full((batch, length), -1),
        ends=np.full((batch, 1), length - 1),
    )


@pytest.mark.parametrize("cut", range(tiny.LAYERS + 1))
@torch.no_grad()
def test_lower_then_upper_layers_are_the_whole_decoder(llm: LanguageModel, cut: int) -> None:
    ids = torch.randint(2, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    hidden = llm.model.get_input_embeddings()(ids)
    if cut:
        hidden = run_decoder(decoder_view(llm.decoder, 0, cut, norm=False), hidden, causal(ids))
    hidden = run_decoder(decoder_view(llm.decoder, cut, llm.depth, norm=True), hidden, causal(ids))
    torch.testing.assert_close(hidden, llm.decoder(input_ids=ids).last_hidden_state, **CLOSE)


def test_a_view_shares_every_parameter_and_leaves_the_decoder_whole(llm: LanguageModel) -> None:
    view = decoder_view(llm.decoder, 1, 3, norm=False)
    own = {id(p) for p in llm.decoder.parameters()}
    assert {id(p) for p in view.parameters()} < own
    assert len(llm.decoder.layers) == tiny.LAYERS
    assert llm.decoder.config.num_hidden_layers == tiny.LAYERS


@pytest.mark.parametrize("start", [0, 2, tiny.LAYERS - 1])
@pytest.mark.parametrize("learning", [False, True], ids=["asked", "learning"])
def test_read_at_its_ends_alone_a_row_gives_the_states_and_gradients_of_a_whole_reading(
    llm: LanguageModel, start: int, learning: bool
) -> None:
    packed = prompt().pack(HISTORIES, CANDIDATES)
    view = decoder_view(llm.decoder, start, llm.depth, norm=True)
    hidden = torch.randn(*packed.tokens.shape, tiny.WIDTH, requires_grad=True)
    ends = torch.from_numpy(packed.ends)
    with torch.set_grad_enabled(learning):
        found, expected = EndReader(view)(hidden, packed), at(run_decoder(view, hidden, packed), ends)
    assert found.shape == (3, 20, tiny.WIDTH)
    torch.testing.assert_close(found, expected, **CLOSE)
    if learning:
        direction = torch.randn_like(expected)
        (own,) = torch.autograd.grad((found * direction).sum(), hidden)
        (other,) = torch.autograd.grad((expected * direction).sum(), hidden)
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-3)


def test_a_layer_of_an_unknown_kind_is_not_taken_apart(llm: LanguageModel) -> None:
    packed = prompt().pack(HISTORIES, CANDIDATES)
    view = decoder_view(llm.decoder, 0, llm.depth, norm=True)
    hidden = torch.randn(*packed.tokens.shape, tiny.WIDTH)
    reader = EndReader(view)
    calls: list[int] = []
    handle = view.layers[-1].mlp.register_forward_pre_hook(lambda _, given: calls.append(given[0].shape[1]))
    try:
        with torch.no_grad():
            known = reader(hidden, packed)
            reader.last = torch.nn.Identity()
            unknown = reader(hidden, packed)
    finally:
        handle.remove()
    assert calls == [20, packed.tokens.shape[1]]
    torch.testing.assert_close(known, unknown, **CLOSE)


@torch.no_grad()
def test_a_title_is_read_after_the_preamble_and_by_itself(llm: LanguageModel) -> None:
    made = prompt()
    states = SegmentStates(llm, made, 2)
    states.ensure([7, 8, 9])
    lower = decoder_view(llm.decoder, 0, 2, norm=False)
    ids = torch.tensor([[*made.ids[made.preamble.tokens], *made.ids[made.item(8).tokens]]])
    expected = run_decoder(lower, llm.model.get_input_embeddings()(ids), causal(ids))
    start = len(made.preamble.tokens)
    torch.testing.assert_close(states.flat[made.item(8).tokens], expected[0, start:], **CLOSE)
    torch.testing.assert_close(states.flat[made.preamble.tokens], expected[0, :start], **CLOSE)


@torch.no_grad()
def test_states_do_not_depend_on_what_was_asked_for_together(llm: LanguageModel) -> None:
    one, other = SegmentStates(llm, prompt(), 2), SegmentStates(llm, prompt(), 2)
    one.ensure(range(tiny.ITEMS))
    for item in reversed(range(tiny.ITEMS)):
        other.ensure([item])
    torch.testing.assert_close(one.flat, other.flat, **CLOSE)


def test_states_kept_on_disk_are_those_that_were_computed(llm: LanguageModel, tmp_path: Path) -> None:
    store = tmp_path / "states" / "here.safetensors"
    first = SegmentStates(llm, prompt(), 2, store)
    first.ensure([1, 2])
    assert not store.exists()  # half a catalogue is not kept
    first.ensure(range(tiny.ITEMS))
    again = SegmentStates(llm, prompt(), 2, store)
    assert again.known.all()
    assert torch.equal(again.flat, first.flat)


def test_states_of_another_model_prompt_depth_or_precision_have_another_name(llm: LanguageModel) -> None:
    key = states_key(llm, prompt(), 2)
    assert states_key(tiny.language_model(), prompt(), 2) == key
    others = [
        states_key(llm, prompt(), 1),
        states_key(llm, ListwisePrompt(tiny.tokenizer(), tiny.TITLES, "Seen:", "What now?"), 2),
        states_key(llm, ListwisePrompt(tiny.tokenizer(), tiny.TITLES[::-1], "Seen:", "Next:"), 2),
        states_key(tiny.language_model(seed=1), prompt(), 2),
        states_key(dataclasses.replace(llm, quantization="nf4"), prompt(), 2),
        states_key(dataclasses.replace(llm, dtype=torch.bfloat16), prompt(), 2),
    ]
    assert len({key, *others}) == 1 + len(others)


# --- slots and the encoder's prior -------------------------------------------------------------------------


def test_vectors_are_added_at_their_slots_and_nowhere_else() -> None:
    slots = ItemSlots(torch.randn(5, 16), tiny.WIDTH, scale=2.0)
    hidden = torch.randn(1, 4, tiny.WIDTH)
    found = slots(hidden, np.array([[-1, 3, -1, 0]]))
    assert torch.equal(found[0, [0, 2]], hidden[0, [0, 2]])
    added = slots.projector(slots.item_vectors[[3, 0]]) * 2.0
    torch.testing.assert_close(found[0, [1, 3]], hidden[0, [1, 3]] + added)


@torch.no_grad()
def test_with_the_prior_training_starts_from_the_encoders_ranking(llm: LanguageModel) -> None:
    states = SegmentStates(llm, prompt(), 2)
    fresh = ListwiseRanker(
        states, decoder_view(llm.decoder, 2, 4, norm=True), torch.randn(40, 16), prior=True
    )
    prior = torch.randn(3, 20)
    order = fresh(HISTORIES, CANDIDATES, prior).argsort(-1)
    assert torch.equal(order, prior.argsort(-1))


def test_a_ranker_with_the_prior_does_not_go_without_it(llm: LanguageModel) -> None:
    with pytest.raises(RuntimeError, match="encoder's scores"):
        ranker(llm, prior=True)(HISTORIES, CANDIDATES, None)


def test_a_damaged_store_is_made_again(llm: LanguageModel, tmp_path: Path) -> None:
    store = tmp_path / "here.safetensors"
    first = SegmentStates(llm, prompt(), 2, store)
    first.ensure(range(tiny.ITEMS))
    store.write_bytes(store.read_bytes()[:-7])
    again = SegmentStates(llm, prompt(), 2, store)
    again.ensure(range(tiny.ITEMS))
    assert torch.equal(again.flat, first.flat)
    assert SegmentStates(llm, prompt(), 2, store).known.all()
