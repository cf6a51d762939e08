"""Out of memory never costs a request: what to admit, how to run it, what to learn."""
