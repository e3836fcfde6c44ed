"""`python -m lewel`, and what torchrun starts with `-m lewel`."""

from __future__ import annotations

from lewel.cli import main

main()
