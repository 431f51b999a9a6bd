"""Theta Data: live chains and history through the vendor's terminal on this machine."""
