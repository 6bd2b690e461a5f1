"""Where exported records go: a folder or a database."""
