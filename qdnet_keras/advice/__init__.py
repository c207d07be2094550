"""What to change, by the score."""
