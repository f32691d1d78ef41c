"""What is rehearsed: the whole migration, faults, negative controls, and other ways to cut over for comparison."""
