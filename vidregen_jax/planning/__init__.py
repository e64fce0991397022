"""Plans training on a pod without the pod: memory, work and time of a step."""
