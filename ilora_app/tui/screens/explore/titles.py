"""What the frames of Explore's panes say, from the question on screen and the answers to it."""

from __future__ import annotations

from core.serving.protocol import BENCHMARK, RAISED
from ilora_app.render.figures import method_name
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.run_data import RunData


def gate_subtitle(explored: ExploreState, run_data: RunData, replaying: bool) -> str:
    """Who set the weights, or where the experts' words come from."""
    if explored.edit.lock is not None:
        return f"E{explored.edit.lock + 1} has everything: l lets go"
    if explored.edit.pushed:
        return "pushed in every layer: r resets"
    if replaying and explored.trail:
        return f"{len(explored.trail)} steps"
    n = run_data.profiles[0]["n"] if run_data.profiles else 0
    return f"words from {n:,} histories" if n else ""


def ranking_title(explored: ExploreState, run_data: RunData) -> str:
    """Who ranks what."""
    if run_data.opened is None:
        return "Ranking"
    ranked = explored.ranked
    opened, method = run_data.opened.method, ranked.method if ranked else run_data.opened.method
    who = method_name(method)
    early = method != opened
    meanwhile = f" while {method_name(opened)} loads" if early else ""
    if explored.source == BENCHMARK:
        return f"{who} ranks 20 items{meanwhile}" if early else f"{who} ranks 20 candidates"
    encoder = ranked.encoder if ranked else ""
    if explored.source == RAISED:
        if early and encoder == method:
            return f"{who}'s {explored.retrieve} raised most{meanwhile}"
        finder = "it" if encoder == method else method_name(encoder) if encoder else "the encoder"
        return f"{who} ranks the {explored.retrieve} that {finder} raises most{meanwhile}"
    if encoder == method:
        best = f"{who}'s best {explored.retrieve}"
        return f"{best}{meanwhile}" if early else f"{best} of all {run_data.opened.items:,}"
    return f"{who} reranks {method_name(encoder) if encoder else 'the encoder'}'s best {explored.retrieve}"


def verdict(explored: ExploreState, run_data: RunData) -> str:
    """Where every method puts the target; what is awaited where the ranking is an older one."""
    ranked = explored.ranked
    if explored.awaited:
        return "ranking …"
    if ranked is None or ranked.target is None:
        return ""
    if ranked.target not in ranked.items:
        place = f"{method_name(ranked.encoder)}'s place {ranked.target_place}"
        why = place if ranked.target_place else "seen before"
        return f"◎ {run_data.title(ranked.target)}: not retrieved, {why}"
    at = ranked.items.index(ranked.target)
    parts = [f"◎ {method_name(ranked.method)} {ranked.ranks[ranked.method][at]}"]
    rank = explored.beside_rank(ranked.target)
    if rank is not None and explored.beside is not None:
        parts.append(f"{method_name(explored.beside.method)} {rank}")
    beside = explored.beside.method if explored.beside else ""
    others = [name for name in ranked.ranks if name not in (ranked.method, beside)]
    parts += [f"{method_name(name)} {ranked.ranks[name][at]}" for name in others]
    return " · ".join(parts)


def history_titles(explored: ExploreState, replaying: bool, paused: bool, detail: str) -> tuple[str, str]:
    """Whose history, and what can be done about it; `detail` is about the item under the cursor."""
    if explored.user is None:
        return (
            ("Your own taste", "r empties it" if explored.history else "")
            if explored.own
            else ("History", "")
        )
    title = f"User {explored.user.user} · {explored.position} of {len(explored.user.items)} seen"
    if replaying:
        return title, "paused: space goes on, . steps" if paused else "replaying: space pauses"
    if explored.why is not None:
        return title, "full bar: 1 in log-prob."
    if explored.edited:
        return title, "edited: u undo, r reset"
    if explored.position != len(explored.user.items) - 1:
        return title, "L goes to the last item"
    return title, detail
