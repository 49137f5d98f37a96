"""Floor 3: what a *derivative* is. Reverse, forward, numerical, of any order, and their check."""
