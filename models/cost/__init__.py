"""What networks cost on GAP8: cycles, memory, tiles."""
