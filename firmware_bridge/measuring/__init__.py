"""What boards cost and survive: benches, soaks, profiles, memory."""
