"""What can go wrong with the live kernel."""


class LiveError(Exception):
    """The live kernel cannot be used, or a step cannot be performed on it; the text says why."""


class ProcessLostError(LiveError):
    """A process under observation ended or does not answer."""
