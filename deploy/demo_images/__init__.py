"""Demo guests made from Debian packages on this very host, mounting nothing: tiny, probe and debian."""
