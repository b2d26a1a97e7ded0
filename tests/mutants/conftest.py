"""The catalog is imported by its own name, by the tests and by the program alike."""

collect_ignore_glob = ["catalog/*", "run.py", "planting.py"]
