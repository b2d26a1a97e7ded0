"""Statistics that know nothing of models or studies."""
