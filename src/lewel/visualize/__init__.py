"""See it: alignment maps over photographs, augmented views, the page of a run, the figures of docs/equation.md."""
