"""Chooses the validation user whom the screen begins with: writes core/demo/opening.json anew."""

from __future__ import annotations

import json
from dataclasses import asdict

from core.files import atomic_write
from core.runs.demo import OPENING, Opening, demo_runs
from core.serving.opening import open_session
from core.serving.protocol import Question

RULE = "of {users} validation users the one whom the gate helps most: iLoRA's first choice, LoRA's lowest"
"""Ties go to the most one-sided gate."""


def places(method: str) -> tuple[dict[str, int], dict[str, float]]:
    """User -> place of the last item among its twenty candidates, and how one-sided the gate is, if any."""
    session = open_session(demo_runs()[method])
    users, histories = session.newest_histories()
    sides = session.one_sided() or [0.0] * len(users)
    found, one_sided = {}, {}
    for user, history, side in zip(users, histories, sides, strict=True):
        if session.parts.get(user) != "validation":
            continue
        last = len(session.sequence(user).items) - 1
        ranked = session.rank(0, Question(list(history), user=user, position=last))
        assert ranked.target is not None
        found[user] = ranked.ranks[method][ranked.items.index(ranked.target)]
        one_sided[user] = side
    return found, one_sided


def choose() -> Opening:
    """The user of the rule."""
    gated, sides = places("ilora")
    plain, _ = places("lora")
    best = min(gated, key=lambda user: (gated[user] != 1, -plain[user], -sides[user]))
    return Opening(best, RULE.format(users=len(gated)), gated[best], plain[best])


if __name__ == "__main__":
    chosen = choose()
    atomic_write(OPENING, json.dumps(asdict(chosen), indent=1) + "\n")
    print(chosen)
