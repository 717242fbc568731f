"""One reader per format of recordings."""
