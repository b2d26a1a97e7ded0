"""The named data sets' own readers; what each set is stands in `trilemma.data.named`."""
