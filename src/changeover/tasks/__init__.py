"""What applications ask for: tasks, and the routes that say who answers them."""
