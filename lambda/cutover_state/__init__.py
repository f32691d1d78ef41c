"""The state table that all controllers share: its layout, and how each part is read and written."""
