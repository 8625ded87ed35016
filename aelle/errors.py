"""What a user can mend."""


class UserError(ValueError):
    """Its message is one line: what was wrong, what is allowed, how to mend it. The command line prints only that."""


class TooFewError(UserError):
    """The variants do not suffice for a classification: one class only, or too few to split."""
