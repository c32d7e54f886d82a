# Tests of topology: readers.
