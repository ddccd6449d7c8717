"""Agents measured on tasks: episodes run and kept, and what they come to. Knows agents, tasks and files."""
