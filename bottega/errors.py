"""The errors that a user may see: one line each, saying what was wrong, what was expected and what to do."""


class BottegaError(Exception):
    """Anything that stops a verb; the command line prints the message and leaves with `exit_code`."""

    exit_code = 1


class InputError(BottegaError):
    """What the user gave was wrong: a file, a value, a checkpoint."""

    exit_code = 2


class WorkError(BottegaError):
    """The input was right, but the work could not be done: no disk space, no permission, a failed step."""


class Stopped(BottegaError):
    """The user stopped the work with Ctrl-C, and what was done so far has been saved."""

    exit_code = 130
