"""Agents: what they did, step by step. Knows no models."""
