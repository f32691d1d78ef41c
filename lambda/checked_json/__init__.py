"""JSON that people write, read with every mistake reported at once: one line each, key, value and what is allowed."""

from checked_json.reader import DocumentError, Reader, parse_object, shown

__all__ = ["DocumentError", "Reader", "parse_object", "shown"]
