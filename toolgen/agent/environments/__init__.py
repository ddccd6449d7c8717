"""Environments in which calls really run, each in a process of its own and without a network. Know no models."""
