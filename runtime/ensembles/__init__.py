"""Networks that belong together, what was calibrated for them, and what they cost on a device."""
