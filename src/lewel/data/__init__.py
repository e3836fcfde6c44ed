"""From files to batches of views: images finds, decode reads, augment draws, pillow applies, loader serves."""
