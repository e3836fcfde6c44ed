"""The equation: encoder, maps, head, branch, objective, target, method."""
