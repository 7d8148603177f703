"""What holds for every test."""

import signal

# A job that a shell started in the background ignores Ctrl-C, and so would every command that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
