"""Adaptive search: Optuna proposes the variants of a sweep, a pack at a time, and is told how they end."""

from aelle.errors import UserError

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    raise UserError("search=optuna needs Optuna, which is not installed: run pip install optuna") from error
