"""Tool rows on a frozen model: texts with calls in them, their states, and the rows that learn from these (ToolkenGPT,
arXiv 2305.11554; TokenLearning, arXiv 2506.14248)."""
