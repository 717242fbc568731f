"""Places: rooms and yards with what stands in them, and their light."""
