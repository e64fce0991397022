"""Made faces put into their frames so that nobody sees it."""
