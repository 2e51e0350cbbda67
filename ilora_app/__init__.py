"""What a person touches: the command line (`cli`), its Rich output (`render`) and the Textual screens (`tui`)."""

__version__ = "0.1.0"
