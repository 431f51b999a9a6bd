"""What the reference says of answers: documentation alone, answers are built without these."""
