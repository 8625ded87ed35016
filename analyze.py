"""Fit AeLLE to a sweep's spectra and write its report: `python analyze.py --help`."""

from aelle.commands.programs import analyze

if __name__ == "__main__":
    analyze()
