"""Floor 8: how people reach it: the terminal."""
