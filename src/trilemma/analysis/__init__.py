"""What follows from a study: its results as one table, comparisons, claims and the privacy ledger of its trials."""
