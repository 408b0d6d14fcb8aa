"""`python -m feedhandler` is the command."""

from feedhandler.cli import main

if __name__ == "__main__":
    main()
