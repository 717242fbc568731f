"""Writing a zoo: networks, their manifest and their profile."""
