"""Makes a new database ready for the payment system, and leaves a database in service as it is.

The custom resource ``Custom::DatabaseBootstrap``: schemas, tables, accounts, grants and the retention of the binary
log. Safe to run on every deployment, and to run again after a failure at any point.
"""
