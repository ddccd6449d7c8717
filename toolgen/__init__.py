"""toolgen: language models that hold their tools in their own vocabulary."""

__version__ = "0.1.0"
