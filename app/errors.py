"""What a user's mistake or bad luck raises."""


class InputError(Exception):
    """Something outside the program is wrong: a value, a file, a folder, a server.

    The message is one line that says what is wrong, where, and what would be right; the
    command line prints it alone, without a traceback.
    """


class TooLittleMemory(InputError):
    """A budget of memory is too small for what is asked; what is asked besides may go on."""
