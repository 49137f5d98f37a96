"""Floor 2: what can be *computed*. One file a family; each op one complete record."""
