"""Training queries by a language model, after ToolBench's recipe (ToolLLM, arXiv 2307.16789, section 2.2): a few tools
are drawn (``samples``), a model that reads their documents is asked for ten queries which want some of them
(``wording``, with ``examples``), and what it answers is checked (``answers``). ``generation`` does it for many samples.
"""
