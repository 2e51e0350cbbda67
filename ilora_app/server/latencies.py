"""Counts requests and their times for `/metrics`, in the text format that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; a request counts in the first bucket that it fits into, and in all larger ones."""


class Latencies:
    """How many requests ended how, and how long the answered ones took."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, status: int, seconds: float) -> None:
        """One request has ended."""
        self.statuses[status] += 1
        if status == 200:
            self._buckets[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds

    def text(self, gauges: dict[str, float]) -> str:
        """Everything, and some values as they are now."""
        lines = ["# TYPE ilora_requests_total counter"]
        lines += [
            f'ilora_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(self.statuses.items())
        ]
        lines.append("# TYPE ilora_request_seconds histogram")
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'ilora_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"ilora_request_seconds_sum {self._seconds:.6f}", f"ilora_request_seconds_count {total}"]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:.12g}"]
        return "\n".join(lines) + "\n"
