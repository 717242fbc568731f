"""From a place and a person to the frame of a camera."""
