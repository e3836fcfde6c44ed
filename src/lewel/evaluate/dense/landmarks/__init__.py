"""Points of faces by heat maps on an encoder."""
