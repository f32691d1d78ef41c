"""What an operator runs from a workstation."""
