"""How the demo checkpoint and its detector were trained; a tool of the developers, not in the wheel."""
