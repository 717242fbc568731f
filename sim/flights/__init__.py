"""Synthetic flights: rooms, people, a drone's motion and its camera, rendered with exact labels."""
