"""Our environments beside LIBERO's own: how equal they are."""
