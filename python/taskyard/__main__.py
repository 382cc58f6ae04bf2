"""``python -m taskyard``: the ``taskyard`` command."""

from ._command import main

__all__: list[str] = []

main()
