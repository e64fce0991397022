"""Pastes generated faces into their frames without a visible trace."""
