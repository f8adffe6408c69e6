"""`python -m brule` is the command `brule`."""

from brule.cli.command import main

if __name__ == "__main__":
    main()
