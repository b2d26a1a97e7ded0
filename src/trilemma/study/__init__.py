"""Studies: files that plan trials, and the running of trials on one machine or on many."""
