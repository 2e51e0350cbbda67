"""Settings: typed, checked where they are made, with presets and run files."""
