"""Train recurrent networks and measure their Lyapunov spectra: `python train.py --help`."""

from aelle.commands.programs import train

if __name__ == "__main__":
    train()
