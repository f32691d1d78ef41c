"""Taking a cutover back: traffic first, then the writer, then the execution, then everybody is told why."""
