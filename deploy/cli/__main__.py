"""`python -m deploy.cli`, for an environment in which the command is not installed."""

from deploy.cli import main

if __name__ == "__main__":
    main()
