"""`python -m bench`: the command `bench` where its script is not on the path."""

import sys


def main() -> None:
    """Run the command; an interruption while its modules are still being imported ends as quietly as a later one."""
    try:
        from bench.cli.app import main as run  # noqa: PLC0415  # so that an interruption of it is caught
    except KeyboardInterrupt:
        print("interrupted: nothing was started.", file=sys.stderr)  # noqa: T201  # nothing else is imported yet
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
