"""How the functions reach a database: verified TLS from a secret, accounts, locks, sessions and grants.

The two engines that it speaks, Aurora MySQL (MySQL 8.0) and MariaDB, differ in a few statements and error numbers;
``server.Server`` knows which one answers, and the callers stay alike.
"""
