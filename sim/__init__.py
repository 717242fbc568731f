"""Flights, traces, replay, comparison and gates for laptops and CI. Imports every other package."""
