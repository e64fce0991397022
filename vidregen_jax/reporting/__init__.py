"""The files beside a video: its report, its page, a sheet of stills."""
