"""The line: ports, bytes, frames, messages, and one session over them."""
