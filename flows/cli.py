"""One command, one service verb."""
