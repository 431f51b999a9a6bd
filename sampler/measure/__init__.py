"""From one chain and the state before it to one slot's record. Pure: no clock, no file."""
