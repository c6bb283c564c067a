"""A benchmark of many clips: the whole way for each with one recipe, and what it says of the recipe."""
