"""Fixtures for every test."""

pytest_plugins = ["rehearsal.databases.pytest_plugin", "tests.support.synthesized"]
