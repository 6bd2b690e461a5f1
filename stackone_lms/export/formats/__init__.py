"""The formats of exported files."""
