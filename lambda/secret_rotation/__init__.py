"""Rotates the three secrets of one database, as the function that Secrets Manager calls.

The admin secret has one account, whose password changes in place. An application or replication secret has a pair of
accounts, of which the one that is not in use gets the new password and then becomes the current one.
"""
