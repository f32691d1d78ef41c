"""What stands in the documentation as a picture or a table that the project can tell by itself.

``python -m docs.generate`` (``make docs``) writes it; tests fail when a file is no longer what it would write.
"""
