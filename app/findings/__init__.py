"""What follows from scores: selection, consistency, lesioning, decoding."""
