"""Files of other people's formats, read with care (TOML, CSV, images), and the one way to write."""
