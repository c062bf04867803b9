"""A cloud of several hosts on one machine, to rehearse what one does to real ones: each host a set of namespaces."""
