"""Consent, signing identities, and Content Credentials."""
