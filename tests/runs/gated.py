"""An untrained iLoRA run with a sharp gate, for the tests of what is exported for many users."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from core.config.settings import GateConfig
from core.recommenders.registry import method_class
from core.runs.store import OpenRun, RunInfo
from tests import tiny
from tests.ilora.test_model import adapted, stirred


def gated_run(folder: Path, scope: str) -> OpenRun:
    """One whose omega differs much from user to user."""
    config = dataclasses.replace(tiny.config(), gate=GateConfig(scope=scope))
    recommender: Any = method_class("ilora")()
    recommender.model, recommender.batch = stirred(adapted(settings=config)), 4
    recommender.model.train(False)
    with torch.no_grad():
        for parameter in recommender.model.gate.parameters():
            parameter.mul_(20)
    info = RunInfo(folder, "tiny", "paper", "ilora", 0, config, "ab", "2026-01-01", {})
    return OpenRun(info, *tiny.load(config), recommender)
