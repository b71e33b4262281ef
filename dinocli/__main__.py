"""Entry point of `python -m dinocli` and of `torchrun -m dinocli`."""

from dinocli.cli.app import main

if __name__ == "__main__":
    main()
