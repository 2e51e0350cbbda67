"""What the frames of Explore's panes say, from the question on screen and the answers to it."""

from __future__ import annotations

from core.serving.protocol import BENCHMARK
from ilora_app.render.figures import method_name
from ilora_app.tui.state.explore_state import Scene
from ilora_app.tui.state.run_data import World


def gate_subtitle(scene: Scene, world: World, replaying: bool) -> str:
    """Who set the weights, or where the experts' words come from."""
    if scene.edit.lock is not None:
        return f"E{scene.edit.lock + 1} has everything: l lets go"
    if scene.edit.pushed:
        return "pushed in every layer: r resets"
    if replaying and scene.trail:
        return f"{len(scene.trail)} steps"
    n = world.profiles[0]["n"] if world.profiles else 0
    return f"words from {n:,} histories" if n else ""


def ranking_title(scene: Scene, world: World) -> str:
    """Who ranks what."""
    if world.opened is None:
        return "Ranking"
    method = method_name(world.opened.method)
    if scene.source == BENCHMARK:
        return f"{method} ranks 20 candidates"
    encoder = method_name(scene.ranked.encoder) if scene.ranked else "the encoder"
    if encoder == method:
        return f"{method}'s best {scene.retrieve} of all {world.opened.items:,}"
    return f"{method} reranks {encoder}'s best {scene.retrieve}"


def verdict(scene: Scene, world: World) -> str:
    """Where every method puts the target; what is awaited where the ranking is an older one."""
    ranked = scene.ranked
    if scene.awaited:
        return "ranking …"
    if ranked is None or ranked.target is None:
        return ""
    if ranked.target not in ranked.items:
        place = f"{method_name(ranked.encoder)}'s place {ranked.target_place}"
        why = place if ranked.target_place else "seen before"
        return f"◎ {world.title(ranked.target)}: not retrieved, {why}"
    at = ranked.items.index(ranked.target)
    parts = [f"◎ {method_name(ranked.method)} {ranked.ranks[ranked.method][at]}"]
    rank = scene.beside_rank(ranked.target)
    if rank is not None and scene.beside is not None:
        parts.append(f"{method_name(scene.beside.method)} {rank}")
    beside = scene.beside.method if scene.beside else ""
    others = [name for name in ranked.ranks if name not in (ranked.method, beside)]
    parts += [f"{method_name(name)} {ranked.ranks[name][at]}" for name in others]
    return " · ".join(parts)


def history_titles(scene: Scene, replaying: bool, paused: bool, detail: str) -> tuple[str, str]:
    """Whose history, and what can be done about it; `detail` is about the item under the cursor."""
    if scene.user is None:
        return ("Your own taste", "r empties it" if scene.history else "") if scene.own else ("History", "")
    title = f"User {scene.user.user} · {scene.position} of {len(scene.user.items)} seen"
    if replaying:
        return title, "paused: space goes on, . steps" if paused else "replaying: space pauses"
    if scene.why is not None:
        return title, "a full bar: 1 in log-probability"
    if scene.edited:
        return title, "edited: u undo, r reset"
    if scene.position != len(scene.user.items) - 1:
        return title, "L goes to the last item"
    return title, detail
