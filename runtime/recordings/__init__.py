"""Recordings: MCAP files with frames, truth and everything that fed a decision."""
