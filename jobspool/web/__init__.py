"""The page and its JSON API: one process that reads the spool and does what a person asks of it, as the commands do."""
