"""`python -m dinocli`, which is also how `torchrun -m dinocli` starts a process."""

from dinocli.cli.app import main

if __name__ == "__main__":
    main()
