"""The edges of a process and of a network, with real parts."""
