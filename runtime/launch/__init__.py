"""From a file to a flight: configuration, what is checked before take-off, take-off and landing."""
