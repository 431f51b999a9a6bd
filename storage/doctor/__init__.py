"""Find out what a user can have got wrong: one finding a check, with what to do about it."""
