"""Where cells are computed: in this process, in several on this machine, or on a Ray cluster."""
