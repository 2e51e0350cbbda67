"""Three themes: dark, light, and one of high contrast."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="ilora-dark",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#e0af68",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#c8d0e8",
    background="#13151f",
    surface="#191c28",
    panel="#232839",
    dark=True,
    variables={"footer-key-foreground": "#e0af68", "border": "#3b4261", "border-blurred": "#2a2f45"},
)
LIGHT = Theme(
    name="ilora-light",
    primary="#2e5bb8",
    secondary="#7a4fb0",
    accent="#96590b",
    success="#3a7d2c",
    warning="#96590b",
    error="#b3263e",
    foreground="#2a2e3d",
    background="#f4f2ec",
    surface="#fbfaf6",
    panel="#e6e3d9",
    dark=False,
    variables={"footer-key-foreground": "#96590b", "border": "#b8b3a4", "border-blurred": "#d6d2c6"},
)
CONTRAST = Theme(
    name="ilora-contrast",
    primary="#00d7ff",
    secondary="#ffffff",
    accent="#ffff00",
    success="#00ff5f",
    warning="#ffff00",
    error="#ff5f5f",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#303030",
    dark=True,
    text_alpha=1.0,
    variables={"footer-key-foreground": "#ffff00", "border": "#ffffff", "border-blurred": "#808080"},
)
THEMES = (DARK, LIGHT, CONTRAST)


def next_theme(name: str) -> str:
    """The theme after this one; the first after one that is not ours."""
    names = [theme.name for theme in THEMES]
    return names[(names.index(name) + 1) % len(names)] if name in names else names[0]
