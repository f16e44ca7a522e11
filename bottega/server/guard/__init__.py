"""Who may ask, how much and in what form: checked before any route runs."""
