"""Recorded flights through the real scheduler again."""
