"""The board behind a serial line: firmware, link and engine. Imports `gearshift.runtime`."""
