"""Traces: what every network said about every frame; made, timed and swept."""
