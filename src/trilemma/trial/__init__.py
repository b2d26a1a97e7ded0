"""One trial: a recipe on data, trained, attacked, measured and scored; what it leaves on disk is a run."""
