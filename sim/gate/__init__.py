"""The gate against a stored baseline, and the figures that derive from networks and flights."""
