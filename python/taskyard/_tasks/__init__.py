"""The implementation of ``taskyard.tasks``: task classes, statuses, their stored form, and the queue that dequeues
them."""

__all__: list[str] = []
