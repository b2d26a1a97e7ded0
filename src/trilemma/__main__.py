"""``python -m trilemma``: the commands, where the folder of installed commands is not on the path."""

from trilemma.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
