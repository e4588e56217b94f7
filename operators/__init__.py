"""What operators run, on the embedded AWS and on a real account alike."""
