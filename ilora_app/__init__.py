"""What a person touches: the command line (`cli`), its output (`render`) and the screens (`tui`)."""

__version__ = "0.1.0"
