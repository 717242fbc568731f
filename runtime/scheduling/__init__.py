"""One frame in, one estimate out: the scheduler, its deadline, and how both are written down."""
