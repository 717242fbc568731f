"""Boards without hardware, and lines that are worse than real ones."""
