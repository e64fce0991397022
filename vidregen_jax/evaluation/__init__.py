"""Does the mouth follow, does the person stay themselves, how near are reconstructions."""
