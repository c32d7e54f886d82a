# Tests of topology: network.
