"""Recovery points of both databases, taken before a cutover moves anything."""
