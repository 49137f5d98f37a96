"""One file an optimizer: its rule as pure functions, the story of its update, and its object face."""
