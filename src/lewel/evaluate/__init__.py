"""What an encoder is worth: one file a task."""
