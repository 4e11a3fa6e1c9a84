"""`python -m client` is `narrate`."""

from client.cli import main

if __name__ == "__main__":
    main()
