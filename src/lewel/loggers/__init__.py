"""Where the numbers of a run go: metrics.jsonl always, other loggers beside it. See `lewel.Logger` for the contract."""
