"""Chain to row, on the session's 30-second grid."""
