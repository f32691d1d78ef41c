"""Measurements that belong to no package of their own."""
