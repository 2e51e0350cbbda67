"""An upload happens on request only, as one commit into a private repository, and fails in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.assets.hub import HubError, push_folder


class Hub:
    """Stands in for the hub's client and remembers what it was told."""

    calls: list[tuple[str, dict[str, Any]]]
    problem: Exception | None = None

    def create_repo(self, name: str, **options: Any) -> Any:
        if Hub.problem is not None:
            raise Hub.problem
        Hub.calls.append((name, options))

        class Address(str):
            repo_id = name

        return Address(f"https://example.org/{name}")

    def upload_folder(self, **options: Any) -> Any:
        Hub.calls.append(("upload", options))
        return SimpleNamespace()


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.calls, Hub.problem = [], None
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    return Hub


def test_a_folder_goes_up_whole_into_a_private_repository(hub: type[Hub], tmp_path: Path) -> None:
    assert push_folder(tmp_path, "me/mine") == "https://example.org/me/mine"
    (name, made), (_, uploaded) = hub.calls
    assert name == "me/mine"
    assert made == {"private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "me/mine"
    assert uploaded["folder_path"] == tmp_path


@pytest.mark.parametrize("problem", [OSError("no\nroute"), ValueError("Repo id must be …"), OSError()])
def test_a_hub_that_refuses_is_one_line_with_a_hint(
    hub: type[Hub], tmp_path: Path, problem: Exception
) -> None:
    hub.problem = problem
    with pytest.raises(HubError, match="cannot upload to me/mine") as caught:
        push_folder(tmp_path, "me/mine")
    assert "\n" not in caught.value.title
    assert str(tmp_path) in caught.value.hint
    assert [name for name, _ in hub.calls] == []


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import hf_api

    class Elsewhere(hf_api.HfApi):
        def __init__(self) -> None:
            super().__init__(endpoint="http://127.0.0.1:9", token="hf_none")

    monkeypatch.setattr("huggingface_hub.HfApi", Elsewhere)
    with pytest.raises(HubError, match="cannot upload to me/mine"):
        push_folder(tmp_path, "me/mine")
