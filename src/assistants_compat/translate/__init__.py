"""From one API's words to the other's.  Pure: no clock, no randomness, no I/O; time and ids are arguments."""
