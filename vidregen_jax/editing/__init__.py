"""An edit: what is asked for, found out and made."""
