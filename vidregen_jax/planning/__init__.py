"""What a step takes of a pod that is not here."""
