"""The commands of ``trilemma``."""
