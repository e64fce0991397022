"""What lies beside a video: its report, its page, a sheet of stills."""
