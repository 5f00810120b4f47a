"""Frames that no service should ever send, and what must hold whatever they are; `make fuzz` looks for more of them."""
