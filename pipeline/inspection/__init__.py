"""Looking at what was made: verify."""
