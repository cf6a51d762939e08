"""Untrusted bytes to pixels."""
