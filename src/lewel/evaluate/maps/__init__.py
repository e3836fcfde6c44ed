"""Where the maps of a run look, and whether that is where the objects are."""
