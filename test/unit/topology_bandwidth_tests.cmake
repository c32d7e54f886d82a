# Tests of topology: bandwidth.
