"""One YAML a runnable thing; its header shows the command."""
