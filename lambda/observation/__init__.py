"""What is read of the world before and during a cutover; each module reads one service and decides nothing."""
