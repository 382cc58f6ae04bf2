"""What ``taskyard.tasks`` is made of: task classes, their statuses, how they travel, and the queue that gives them out."""
