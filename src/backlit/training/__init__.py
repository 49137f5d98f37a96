"""Floor 6: how a net *learns*: loops that return what happened and print nothing."""
