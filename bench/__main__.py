"""`python -m bench`: the command `bench` where its script is not on the path."""

from bench.cli.app import main

if __name__ == "__main__":
    main()
