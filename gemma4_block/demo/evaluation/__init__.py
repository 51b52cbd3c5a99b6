"""How good the demo checkpoint and its detector are; a tool of the developers, not in the wheel."""
