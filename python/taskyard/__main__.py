"""``python -m taskyard``: the ``taskyard`` command."""

from ._command import main

main()
