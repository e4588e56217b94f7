"""Files that people drop: their rows, read as a stream."""
