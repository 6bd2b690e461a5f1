"""Exported records: their columns, their keys, their lines."""
