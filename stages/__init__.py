"""The training stages, one a file; runnable by `deepspeed stages/X.py` and by plain python."""
