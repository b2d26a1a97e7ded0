"""The named data sets' own readers; each set is defined in `trilemma.data.named`."""
