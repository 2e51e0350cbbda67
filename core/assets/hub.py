"""Sends a folder to the model hub, when asked to; nothing else in the program uploads anything."""

from __future__ import annotations

from pathlib import Path

from core.errors import IloraError


class HubError(IloraError):
    """The model hub refuses, or cannot be reached."""


def push_folder(folder: Path, repository: str) -> str:
    """Uploads a folder as one commit, into a repository that is made (private) where there is none.

    Args:
        folder: a run folder or an exported adapter.
        repository: such as `name/model`.

    Returns:
        The address of what was uploaded.

    Raises:
        HubError: no such repository name, no right to write there, or no way to reach the hub.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    hub = HfApi()
    try:
        made = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message=f"Upload {folder.name} by ilora-app"
        )
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise HubError(
            f"cannot upload to {repository}: {reason}",
            f"log in with `hf auth login`; everything is still in {folder}",
        ) from error
    return str(made)
