"""The gate: figures and choices of stored traces against a stored baseline."""
