"""The tests; each folder tests the room of the same name."""
