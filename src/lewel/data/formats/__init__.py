"""What Pillow does not tell of a file: its metadata apart, how far its data reach, how many frames, what it costs."""
