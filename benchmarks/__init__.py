"""Comparisons: baseline retrievers and the evaluation that measures all of them alike."""
