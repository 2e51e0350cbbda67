"""`ilora-app models`: lists the models that are fetched by name, and fetches one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
        typer.echo(json.dumps({"models": rows}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from ilora_app.render.tables import models_table

    Console().print(models_table(rows))


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
        typer.echo(json.dumps(row, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from ilora_app.render.tables import model_details

    Console().print(model_details(row))


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
