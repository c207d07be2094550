"""What to change, by the score: remedies for a photograph, operators for a scene."""
