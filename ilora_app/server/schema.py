"""What the server takes and gives, as OpenAPI; the limits are stated here and checked by the application."""

from __future__ import annotations

from typing import Any

from core.data.cards import LONGEST_HISTORY
from ilora_app import __version__

LARGEST_BODY = 1 << 16
"""Bytes of a request's body at most."""
MOST_CANDIDATES = 200
"""Candidates at most, and items of an answer."""


def schema() -> dict[str, Any]:
    """The OpenAPI description of the server."""
    names = {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}
    asked = {
        "type": "object",
        "required": ["history"],
        "additionalProperties": False,
        "properties": {
            "history": {**names, "minItems": 1, "maxItems": LONGEST_HISTORY, "description": "Oldest first."},
            "candidates": {
                **names,
                "minItems": 2,
                "maxItems": MOST_CANDIDATES,
                "description": "What is ranked; without it the encoder's best of the catalogue.",
            },
            "top": {"type": "integer", "minimum": 1, "maximum": MOST_CANDIDATES, "default": 10},
            "explain": {"type": "boolean", "default": False},
        },
    }
    item = {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "title")}}
    given = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": item, "description": "Best first, with rank and score."},
            "history": {"type": "array", "items": item, "description": "What was read of it."},
            "unknown": {"type": "array", "items": {"type": "string"}},
            "omega": {"type": ["array", "null"], "items": {"type": "number"}},
            "experts": {"type": "array", "items": {"type": "string"}},
            "why": {"type": "array", "items": item, "description": "With explain: what each item changes."},
        },
    }
    wrong = {"400": "not JSON", "413": "too large", "415": "not application/json", "422": "cannot be used"}
    answers: dict[str, Any] = {code: {"description": text} for code, text in wrong.items()}
    answers["503"] = {"description": "too many questions wait; ask again"}
    answers["200"] = {"description": "the ranking", "content": {"application/json": {"schema": given}}}
    paths: dict[str, Any] = {
        "/recommend": {
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
                "responses": answers,
            }
        }
    }
    for path, text in {
        "/health": "whether it answers, and with what",
        "/items": "ids and titles of the catalogue",
        "/metrics": "requests and their times, as Prometheus reads them",
        "/openapi.json": "this description",
    }.items():
        paths[path] = {"get": {"responses": {"200": {"description": text}}}}
    return {"openapi": "3.1.0", "info": {"title": "ilora-app", "version": __version__}, "paths": paths}
