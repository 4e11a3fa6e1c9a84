"""Files from the network to this disk, whole or not at all."""
