"""The embedded dataset: rendered talkers with synthetic speech. Offline; see README.md."""
