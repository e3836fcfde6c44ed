"""`lewel`, with the encoders of the claims in timm's list: python benchmarks/claims/lewel_with_models.py COMMAND ..."""

from __future__ import annotations

import models  # noqa: F401  (registers them)

from lewel.cli import main

main()
