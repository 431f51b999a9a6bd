"""Who may call the API: keys, plans, quotas, and the commands that manage keys."""
