"""What trainings read: clips of frames and of latents, in an order that resumes."""
