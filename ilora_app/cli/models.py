"""`ilora-app models`: lists the models that are fetched by name, and fetches one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.assets.known import KnownModel


def models(
    name: Annotated[str | None, typer.Argument(help="Model to fetch and show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the models that are fetched by name; with a name, fetch one and show it."""
    if name is None:
        _list(as_json)
    else:
        _show(name, as_json)


def _list(as_json: bool) -> None:
    from core.assets.known import MODELS

    rows = [_record(model) for model in MODELS.values()]
    if as_json:
        say_json({"models": rows}, indent=2)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.tables import models_table

    SafeConsole().print(models_table(rows))


def _show(name: str, as_json: bool) -> None:
    from core.assets import fetching, known
    from core.errors import InputError
    from ilora_app.render.downloads import Downloads

    model = known.MODELS.get(name.lower())
    if model is None:
        raise InputError(
            f"unknown model: {name}",
            f"fetched by name: {', '.join(known.MODELS)}; commands take any other by path or hub name",
        )
    with Downloads() as downloads:
        fetching.obtain(model.asset, downloads, thorough=True)
    row = _record(model)
    if as_json:
        say_json(row, indent=2)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.tables import model_details

    SafeConsole().print(model_details(row))


def _record(model: KnownModel) -> dict[str, Any]:
    """What is known of a model; `bytes` is what it takes, or would take to fetch."""
    from core.assets import cache

    stored = cache.find(model.asset)
    checksums = model.asset.sources[0].stored()
    return {
        "name": model.name,
        "title": model.title,
        "licence": model.licence,
        "homepage": model.homepage,
        "cached": stored is not None,
        "source": stored.source if stored else None,
        "path": str(model.asset.folder / model.file),
        "bytes": stored.size if stored else model.size,
        "sha256": checksums[model.file],
    }
