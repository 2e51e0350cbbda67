"""An analysis as text_tables of text and as plots, for the terminal, for files and for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ilora_app.render import analysis_charts, charts, figures
from ilora_app.render.text_tables import TextTable

if TYPE_CHECKING:
    from core.analysis.analyze import Analysis

Record = Mapping[str, Any]
"""What `core.analysis.record.record` gives, and `analysis.json` holds."""


def text_tables_of(record: Record) -> list[TextTable]:
    """All tables of an analysis, from its plain values."""
    made = [_transfer_table(record), *(_similarity_table(one) for one in record["transfer"])]
    if record["experts"] is not None:
        made.append(_experts_table(record["experts"]))
    if record["gains"]:
        made.append(_gains_table(record["gains"]))
    return made


def plots_of(analysis: Analysis) -> dict[str, str]:
    """All plots of an analysis, each an `<svg>`, by their file names."""
    made = {}
    panels = [
        (
            f"{figures.method_name(one.method)} · mean between clusters {_signed(one.between)}",
            one.similarity,
        )
        for one in analysis.transfers
    ]
    made["gradients.svg"] = analysis_charts.heatmaps(
        panels, "Cosine similarity of the clusters' adapter gradients"
    )
    if analysis.experts is not None:
        omega = analysis.experts.omega
        rows = [(f"Expert {k + 1}", omega[:, k]) for k in range(omega.shape[1])]
        title = f"Expert weights over {len(omega):,} users' newest histories"
        made["experts.svg"] = analysis_charts.boxes(rows, "weight", title, charts.colour("ilora"))
    for place, gain in enumerate(analysis.gains, start=1):
        label = f"gain in {analysis.settings.metric}"
        title = f"Gain of iLoRA over LoRA against the {gain.measure}, {figures.plural(gain.n, 'user')}"
        made[f"gain-{place}.svg"] = analysis_charts.cloud(
            gain.x, gain.y, gain.measure, label, title, charts.colour("ilora")
        )
    return made


def _transfer_table(record: Record) -> TextTable:
    rows = tuple(
        (
            figures.method_name(one["method"]),
            _optional(one["between"]),
            _optional(one["strength"]),
            _optional(one["within"]),
            str(len(one["windows"])),
            f"{sum(one['windows']):,}",
            figures.count(one["parameters"]),
        )
        for one in record["transfer"]
    )
    return TextTable(
        "Negative transfer: are the clusters' gradients of A and B alike?",
        (
            "Method",
            "Mean cosine of\ntwo clusters",
            "without\nits sign",
            "of halves of\na cluster",
            "Clusters",
            "Windows n",
            "Length",
        ),
        rows,
        f"{record['clusters']['users']:,} training users in groups of "
        f"{', '.join(map(str, record['clusters']['sizes']))}, {_grouping(record)}. "
        "Below zero they disturb each other, at zero they leave each other alone. "
        "Halves of one cluster: what drawing windows leaves of likeness.",
    )


def _grouping(record: Record) -> str:
    """How the training users were put into groups."""
    if names := record["clusters"].get("names"):
        return f"one for each dataset: {', '.join(names)}"
    return "by the encoder's representation (k-means)"


def _similarity_table(one: Record) -> TextTable:
    matrix = one["similarity"]
    rows = tuple(
        (f"{i + 1}", str(one["windows"][i]), *(_signed(value) for value in row))
        for i, row in enumerate(matrix)
    )
    return TextTable(
        f"Cosine of the clusters' gradients, {figures.method_name(one['method'])}",
        ("Cluster", "Windows", *(str(j + 1) for j in range(len(matrix)))),
        rows,
        "On the diagonal: two halves of the same cluster.",
    )


def _experts_table(record: Record) -> TextTable:
    entropy = record["entropy"]
    rows = tuple(
        (
            str(place),
            one["words"],
            ", ".join(
                f"{item['title']} ({_signed(item['lift'])}, n {item['n']})" for item in one["items"][:3]
            )
            or figures.NONE,
            ", ".join(f"{user['user']} ({figures.share(user['weight'], 2)})" for user in one["users"][:3]),
            figures.share(one["mean"]),
            f"{100 * one['favourites']:.0f} %",
        )
        for place, one in enumerate(record["experts"], start=1)
    )
    return TextTable(
        "What the experts are for",
        ("Expert", "Raised by", "Items", "Users", "Mean weight", "Largest for"),
        rows,
        f"{record['n']:,} users' newest histories. Entropy of a user's weights over log K: "
        f"{figures.share(entropy['mean'])} ± {figures.share(entropy['std'], 2)}; of the mean weights: "
        f"{figures.share(record['balance'])} (1 = all experts alike).",
        words=4,
    )


def _gains_table(gains: list[Record]) -> TextTable:
    rows = tuple(
        (
            gain["measure"],
            _optional(gain["correlation"]),
            "" if gain["low"] is None else f"[{_signed(gain['low'])}, {_signed(gain['high'])}]",
            "" if gain["p"] is None else figures.p_value(gain["p"]).removeprefix("p ").removeprefix("= "),
            f"{gain['n']:,}",
        )
        for gain in gains
    )
    metric = gains[0]["metric"]
    mean = figures.points(gains[0]["mean_gain"])
    return TextTable(
        "Who gains: the gain of iLoRA over LoRA against how unusual a user's history is",
        ("Measure", "Spearman", "95 % interval", "p", "Users n"),
        rows,
        f"Gain in {metric}, mean {mean} points. A positive correlation: the unusual gain more.",
    )


def lines(record: Record) -> Iterator[str]:
    """What it is about: the runs."""
    yield f"run: {record['run']}"
    if record["against"]:
        yield f"against: {record['against']}"


def _signed(value: float) -> str:
    return figures.NONE if np.isnan(value) else f"{round(value, 2) + 0.0:+.2f}".replace("0.", ".", 1)


def _optional(value: float | None) -> str:
    return figures.NONE if value is None else _signed(value)
