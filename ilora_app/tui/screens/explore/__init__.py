"""The screen that shows the gate and the ranking of one user."""
