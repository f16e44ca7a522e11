"""`python -m bottega`: the command line, as torchrun starts it."""

from bottega.cli import main

if __name__ == "__main__":
    main()
