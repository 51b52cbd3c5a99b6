"""A second generator of pictures, which training never saw: other code, fonts and backgrounds."""
