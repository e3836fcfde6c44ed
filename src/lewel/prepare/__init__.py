"""What is made of a large data set once, before any run: an index of its names, and tar shards."""
