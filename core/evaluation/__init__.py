"""From ranks to figures: metrics, confidence intervals, tests, and matching of answers."""
