"""`ilora-app doctor`: what this machine is, what is cached, what works here, and what a model would take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say_json


def doctor(
    model: Annotated[
        str | None,
        typer.Option(help="Estimate this model's memory; only a hub model's settings are fetched."),
    ] = None,
    revision: Annotated[str, typer.Option(help="Revision of a hub model.")] = "main",
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show this machine's hardware, the quantizations that work on it, and the memory a model needs."""
    record = examine(model, revision, precision)
    if as_json:
        say_json(record)
    else:
        _print(record)


def examine(model: str | None, revision: str, precision: str = "auto") -> dict[str, Any]:
    """Everything that is found, as plain values.

    Raises:
        ModelError: the model that was asked for cannot be found.
    """
    from dataclasses import asdict

    from core import hardware
    from core.assets import cache, spec
    from core.assets import known as assets_known
    from core.config.settings import ModelConfig
    from core.data.card_files import known_cards
    from core.lm.doctor import embedded_check, model_size, try_quantizations
    from core.lm.loading import free_memory, settle_precision

    asked = None if model is None else ModelConfig(model, revision, precision=precision)
    wanted = None if asked is None else asdict(model_size(asked))
    known = [card.asset for card in known_cards()[0]] + [m.asset for m in assets_known.MODELS.values()]
    checked = embedded_check()
    embedded = None
    if checked is not None:
        estimated, measured = checked
        off = estimated / measured - 1
        embedded = {"estimated_bytes": estimated, "measured_bytes": measured, "off": off}
    return {
        "hardware": hardware.describe(),
        "precision": settle_precision(ModelConfig(precision=precision)).precision,
        "free_memory_bytes": free_memory(),
        "versions": hardware.versions(),
        "home": str(spec.home()),
        "cached": {asset.name: cache.find(asset) is not None for asset in known},
        "quantizations": [asdict(trial) for trial in try_quantizations(precision)],
        "embedded": embedded,
        "model": wanted,
    }


def _print(record: dict[str, Any]) -> None:
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.figures import size as size_of
    from ilora_app.render.tables import facts

    table = facts("This machine")
    table.add_row("hardware", f"{record['hardware']}, {size_of(record['free_memory_bytes'])} free")
    table.add_row("precision", record["precision"])
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
    table.add_row("cache", record["home"])
    for name, cached in record["cached"].items():
        table.add_row(f"  {name}", "here" if cached else "not fetched yet")
    for trial in record["quantizations"]:
        table.add_row(trial["quantize"], f"{'works' if trial['works'] else 'does not work'}: {trial['note']}")
    found = record["embedded"]
    table.add_row(
        "embedded model",
        "not fetched yet: its estimate cannot be checked"
        if found is None
        else f"4 bit: {size_of(found['estimated_bytes'])} estimated, {size_of(found['measured_bytes'])} "
        f"measured ({100 * found['off']:+.1f} %)",
    )
    if record["model"] is not None:
        size = record["model"]
        each = ", ".join(f"{kind} {size_of(value)}" for kind, value in size["bytes"].items())
        table.add_row(
            size["model"],
            f"{size['parameters']:,} parameters in {size['precision']}; weights: {each}; work comes on top",
        )
    SafeConsole().print(table)
