"""One host, one cloud: everything about bringing it up and taking it down."""
