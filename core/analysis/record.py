"""What `analysis.json` holds: an analysis as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.analysis.analyze import Analysis, ExpertSummary


def record(analysis: Analysis) -> dict[str, Any]:
    """Everything as plain JSON values, each figure with its n."""
    experts = analysis.experts
    return {
        "run": str(analysis.run.path),
        "against": str(analysis.against.path) if analysis.against else None,
        "dataset": analysis.run.dataset,
        "seed": analysis.run.seed,
        "clusters": {
            "sizes": analysis.clusters.sizes,
            "users": len(analysis.clusters.labels),
            "names": list(analysis.names),
        },
        "transfer": [
            {
                "method": one.method,
                "similarity": [[round(float(value), 6) for value in row] for row in one.similarity],
                "between": _plain(one.between),
                "strength": _plain(one.strength),
                "within": _plain(one.within),
                "windows": list(one.windows),
                "parameters": one.parameters,
            }
            for one in analysis.transfers
        ],
        "experts": None if experts is None else _experts_record(experts),
        "gains": [
            {
                "metric": analysis.settings.metric,
                "measure": gain.measure,
                "n": gain.n,
                "correlation": _plain(gain.correlation),
                "low": _plain(gain.low),
                "high": _plain(gain.high),
                "p": _plain(gain.p),
                "mean_gain": float(gain.y.mean()),
            }
            for gain in analysis.gains
        ],
    }


def _experts_record(use: ExpertSummary) -> dict[str, Any]:
    return {
        "n": len(use.omega),
        "balance": use.balance,
        "entropy": {
            "mean": float(use.entropy.mean()),
            "std": float(use.entropy.std()),
            "quantiles": dict(
                zip(("5", "50", "95"), np.quantile(use.entropy, [0.05, 0.5, 0.95]).tolist(), strict=True)
            ),
        },
        "experts": [
            {
                "words": one.profile.words,
                "mean": one.profile.mean,
                "favourites": one.favourites,
                "traits": [
                    {"name": trait.name, "correlation": trait.correlation} for trait in one.profile.traits
                ],
                "users": [{"user": user, "weight": weight} for user, weight in one.users],
                "items": [{"title": item.title, "lift": item.lift, "n": item.n} for item in one.items],
            }
            for one in use.experts
        ],
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
