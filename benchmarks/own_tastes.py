"""What comes of a taste of a few items of one genre, and what people with such histories really chose next.

    python -m benchmarks.own_tastes [--genre Animation] [--best 28] [--tastes 20] [--run demo]

prints the genre's share among the best recommendations, for made-up tastes of 1 to 10 items and for the real
moments of all users whose history is of that genre. "raised most" is the encoder's score less its mean over
the training users: what this history raises, whatever is popular.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from core.runs.demo import demo_runs
from core.serving.opening import open_session
from core.serving.protocol import CATALOGUE, RAISED, RETRIEVED, Question
from core.serving.session import Session

LENGTHS = (1, 2, 3, 5, 10)
WATCHED = 20
"""Tastes are drawn among so many of the genre's most watched items: people add what they know."""
AHEAD = 10
"""Choices after a moment that are looked at."""


def encoder_scores(session: Session, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """(histories, items) the encoder's scores of the whole catalogue."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(histories), 256):
            z = session.encoder.represent(histories[start : start + 256])
            parts.append(session.encoder.logits(z).float().numpy())
    return np.concatenate(parts)


def best(scores: npt.NDArray[np.float32], seen: Sequence[int], count: int) -> list[int]:
    """The best unseen items."""
    kept = scores.copy()
    kept[list(seen)] = -np.inf
    return [int(item) for item in np.argsort(-kept, kind="stable")[:count]]


def share(items: Sequence[int], of_genre: npt.NDArray[np.bool_]) -> float:
    """Share of a genre among items."""
    return float(of_genre[list(items)].mean()) if len(items) else float("nan")


def alikeness(scores: Sequence[float], others: npt.NDArray[np.float32]) -> float:
    """Spearman's rank correlation of two scores of the same items."""
    orders = [np.argsort(np.argsort(values)) for values in (np.asarray(scores), others)]
    return float(np.corrcoef(*orders)[0, 1])


def tastes(session: Session, genre: str, count: int, best_of: int) -> None:
    """Made-up tastes: the genre's share among the best, by several rankers."""
    of_genre = np.array([genre in tags for tags in session.dataset.catalogue.tags])
    counts = np.asarray(session.counts)
    pool = [int(item) for item in np.argsort(-counts * of_genre, kind="stable")[:WATCHED]]
    usual = session.usual_scores
    rng = np.random.default_rng(0)
    print(f"\n{count} tastes of n among the {WATCHED} most watched; share of {genre} in the best {best_of}\n")
    method = session.recommender.name
    heads = ["n", "popularity", session.encoder.kind, f"{method} of its best {RETRIEVED}", "raised most"]
    print(f"| {' | '.join(heads)} | {method} of the {RETRIEVED} raised most |")
    print("|---|---|---|---|---|---|")
    alike: list[tuple[float, float]] = []
    for n in LENGTHS:
        rows: list[tuple[float, ...]] = []
        for _ in range(count):
            taste = [int(item) for item in rng.choice(pool, n, replace=False)]
            scores = encoder_scores(session, [taste])[0]
            ranked = session.rank(0, Question(taste, CATALOGUE))
            popular = counts[ranked.items]
            alike.append((alikeness(ranked.encoder_scores, popular), alikeness(ranked.scores, popular)))
            found = [best(counts, taste, best_of), best(scores, taste, best_of)]
            found += [ranked.items[:best_of], best(scores - usual, taste, best_of)]
            found.append(session.rank(0, Question(taste, RAISED)).items[:best_of])
            rows.append(tuple(share(items, of_genre) for items in found))
        mean = np.mean(rows, axis=0)
        print(f"| {n} | " + " | ".join(f"{value:.2f}" for value in mean) + " |", flush=True)
    encoder, own = np.mean(alike, axis=0)
    print(
        f"\nrank correlation with popularity among the {RETRIEVED}: {session.encoder.kind} {encoder:.2f}, ",
        end="",
    )
    print(f"{method} {own:.2f}")


def moments(session: Session, genre: str, best_of: int) -> None:
    """Real moments after a history of the genre: what was chosen next, and what the encoder recommends."""
    of_genre = np.array([genre in tags for tags in session.dataset.catalogue.tags])
    longest = session.rules.max_history
    print(
        f"\nmoments of all users; share of {genre} in what they chose and in {session.encoder.kind}'s best\n"
    )
    print(
        f"| history | moments | users | next item | next {AHEAD} | {session.encoder.kind}'s best {best_of} |"
    )
    print("|---|---|---|---|---|---|")
    rules = {
        "any": lambda last: True,
        "the last 1": lambda last: of_genre[last[-1:]].all(),
        "the last 3": lambda last: of_genre[last[-3:]].all(),
        "5 of the last 10": lambda last: of_genre[last].sum() >= 5,
        "the first 3 of a life": lambda last: len(last) == 3 and of_genre[last].all(),
    }
    for name, holds in rules.items():
        histories, next_one, later, users = [], [], [], set()
        for user, sequence in session.dataset.sequences.items():
            items = sequence.items.tolist()
            for at in range(session.rules.min_history, len(items)):
                last = items[max(0, at - longest) : at]
                if holds(last):
                    histories.append(last)
                    users.add(user)
                    next_one.append(share(items[at : at + 1], of_genre))
                    later.append(share(items[at : at + AHEAD], of_genre))
        picked = np.random.default_rng(0).permutation(len(histories))[:2000]
        asked = [histories[at] for at in picked]
        shares = (
            [
                share(best(row, history, best_of), of_genre)
                for row, history in zip(encoder_scores(session, asked), asked, strict=True)
            ]
            if asked
            else [float("nan")]
        )
        figures = [np.mean(next_one or [np.nan]), np.mean(later or [np.nan]), np.mean(shares)]
        shown = " | ".join(f"{value:.2f}" for value in figures)
        print(f"| {name} | {len(histories):,} | {len(users):,} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--genre", default="Animation")
    parser.add_argument("--best", type=int, default=28)
    parser.add_argument("--tastes", type=int, default=20)
    parser.add_argument("--run", default="ilora", help="which of the demo's runs: ilora, lora or sasrec")
    chosen = parser.parse_args()
    session = open_session(demo_runs()[chosen.run])
    tags = session.dataset.catalogue.tags
    of_genre = np.array([chosen.genre in of_item for of_item in tags])
    watched = np.asarray(session.counts)
    print(f"{chosen.genre}: {of_genre.sum()} of {len(of_genre):,} items ({of_genre.mean():.1%})", end=", ")
    print(f"{(watched * of_genre).sum() / watched.sum():.1%} of the training interactions")
    moments(session, chosen.genre, chosen.best)
    tastes(session, chosen.genre, chosen.tastes, chosen.best)


if __name__ == "__main__":
    main()
