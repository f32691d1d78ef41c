"""Reference payment service: it writes to whichever database admits it, and holds requests while none
does."""
