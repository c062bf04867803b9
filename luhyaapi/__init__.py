"""What every role shares: contracts, wire, command, status, transfer, life cycles, errors, settings, clock, log, process."""

__version__ = "0.1.0"
