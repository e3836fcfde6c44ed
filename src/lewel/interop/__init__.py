"""Weights in from published checkpoints and files, and out again."""
