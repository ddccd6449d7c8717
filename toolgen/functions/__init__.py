"""Functions that a model calls in the middle of a text, as ToolkenGPT's do (arXiv 2305.11554). Knows no models."""
