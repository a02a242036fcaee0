"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something a person can put right. The message is one line: the value, the limit, the way out.

    The command line prints it and ends with exit status 2; anything else that is raised is a bug of this project.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
