"""The engine's process and trainings, as the screens see them."""
